# Nothing of it is seen from Python: http1.pyx uses it.
