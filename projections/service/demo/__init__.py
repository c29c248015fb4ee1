"""The chain and the contract that `chainfold demo` plays on."""
