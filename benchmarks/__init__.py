"""The benchmarks. Where awscrt is installed, botocore would sign by it; what most people have is botocore's own."""

import os

os.environ.setdefault("BOTO_DISABLE_CRT", "true")
