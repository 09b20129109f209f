"""Watching a job: what its happenings amount to, and who is told of it.

tally    happenings -> segments, renderers, attempts       pace     -> speed and time left
status   -> status.json in the job's store                 watch    `farm watch`, which reads it; grid draws it
metrics  -> Prometheus                                     logs     -> a JSON object a line
spans    -> OpenTelemetry
"""
