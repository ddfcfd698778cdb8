"""E-mail drafts: copy, layout, lint.

What belongs here: turning a brief and its facts into text and HTML, and judging a draft. What does not: choosing
products or audiences (`merchandising`), building MIME messages, sending, and anything that knows a recipient: a
draft holds merge fields, never a person.
"""
