"""Golden files: what every run of `gin/runs` is and computes, compared by `tests/test_golden.py`."""
