"""The demo: two people side by side, each given the other one's face: `python -m farm.demo --out out`."""
