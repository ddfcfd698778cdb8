"""Delivery: who is written to, who approved it, how a message leaves and what comes back.

What belongs here: the plan, approvals, the outbox and its dispatcher, transports, tokens and keys, events and
suppressions, and people's rights. What does not: words and messages (`messaging`), what a campaign caused
(`measurement`), the HTTP service (`service`).
"""
