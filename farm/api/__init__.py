"""The service over HTTP: a FastAPI app on farm.service, without state of its own.

app        the application, put together        context    what a call works with      auth     who asks, what may he
problems   errors as application/problem+json   limits     sizes and times of a call   schemas  bodies in and out
orders     a body -> JobOrder                   views      rows -> bodies              stream   events as they happen
jobs, uploads, results, casts, webhooks, admin, probes     the calls                   page     the web page's files
"""
