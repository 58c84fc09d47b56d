"""Golden files: what every run of `gin/runs` is and computes, one JSON file a run, compared by `tests/test_golden.py`."""
