"""A Django site and a Flask app on one cache in S3: `make demo`."""
