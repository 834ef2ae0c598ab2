# Nothing of it is seen from Python: generator.pyx uses it.
