"""A package: its folder, its number formats, and its graphs, in which every step is one tensor."""
