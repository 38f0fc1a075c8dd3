"""What C{twistd --help} reads: a name and where to find the rest; nothing is imported yet."""

from twisted.application.service import ServiceMaker


sandbox_billing = ServiceMaker(
    "sandbox_billing",
    "sandbox_billing.tap",
    "The billing daemon in front of Daytona: meters sandboxes, settles vouchers on-chain.",
    "sandbox-billing",
)
