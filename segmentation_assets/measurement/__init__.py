"""What a campaign caused: rates, lift with intervals, pooled effects, power, and the checks that make them readable.

Pure room: arrays and frames in, frames and dataclasses out. It opens no store, sends nothing and reads no clock.
"""
