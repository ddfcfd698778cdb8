"""The HTTP service: open pixel, click redirect, unsubscribe, reports of providers, and the data API.

What belongs here: answering requests. What does not: what is done with what was heard (`delivery.events`), sending
(`delivery`), and the marketer's pages (`studio`). Neither a token nor an address of a person or of the internet is
logged or kept.
"""
