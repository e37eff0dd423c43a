"""A package: its folder, and its graphs, in which every step is one tensor."""
