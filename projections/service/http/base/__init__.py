"""What every endpoint shares: context, parameters, caches, errors, access."""
