"""What the product does when it is asked to: the application layer under the command line."""
