// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IServing} from "../Stack.sol";
import {Owners} from "./Owners.sol";
import {Providers} from "./Providers.sol";
import {Settlement} from "./Settlement.sol";
import {Users} from "./Users.sol";

/// @title Everything that can be done, in any order
/// @dev It begins where it gets interesting: both providers are registered, each user has a
/// balance with each and has acknowledged them.
contract Handler is Users, Providers, Owners, Settlement {
    constructor() {
        for (uint256 p = 0; p < _providers.length; ++p) {
            address provider = _providers[p];
            _offered(provider, vm.addr(_keys[p]), 1, STAKE);
            for (uint256 u = 0; u < _users.length; ++u) {
                _fund(_users[u], provider, 1_000);
                _acknowledge(_users[u], provider);
                _held[provider][_users[u]].balance = 1_000;
                _held[provider][_users[u]].deposited = 1_000;
                _held[provider][_users[u]].acknowledged = 1;
            }
        }
    }

    function serving() external view returns (IServing) {
        return _serving;
    }
}
