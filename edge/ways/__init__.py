"""Ways to run a model in a board's Python that no TFLite runtime has: files that go to the board.

Each has a class ``Interpreter`` with those methods of TFLite's that edge_run.py calls. The name in
the release is ``edge_`` and the file's: ``edge_numpy``.
"""
