"""Where a job's state is: one contract (base), a local folder (disk), a bucket (s3)."""
