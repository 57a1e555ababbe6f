"""The benchmarks.

botocore would sign with awscrt if that is installed. Most people do not have it, so botocore's own signer is measured.
"""

import os

os.environ.setdefault("BOTO_DISABLE_CRT", "true")
