"""One run from config to report.

``runner`` prepares the run, then fits, inspects or reports. ``directory`` is the record on disk,
``phases`` are the parts of a run that are saved and resumed, ``after_fit`` has the phases after the
last step. ``result`` is what ``result.json`` says, ``sweep`` a fit that is a job of a sweep.
"""
