//! CPython 3.11's test_asyncore.py, test by test.
