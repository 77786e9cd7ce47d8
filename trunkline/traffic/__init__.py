"""A Telnyx to try things with: stories of many kinds, signed, some forged on purpose."""
