"""How well a conversion is: error, cost, range, size and operations of its packages, measured and put on one page."""
