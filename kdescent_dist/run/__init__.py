"""One run from config to report.

``runner`` prepares the run, then fits, inspects or reports. ``directory`` is the record on disk,
``result`` what ``result.json`` says, ``sweep`` a fit that is a job of a sweep.
"""
