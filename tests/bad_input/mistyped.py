"""A candidate's module that fails when it is imported, as one with a name that was mistyped."""

raise NameError("name 'Bakcend' is not defined")
