"""The servants: supervised loops that meet in what is stored."""
