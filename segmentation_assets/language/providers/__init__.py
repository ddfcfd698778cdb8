"""Who answers over a network: the wire format, a server of the OpenAI protocol, and what each server can do.

What belongs here: one attempt at a time, with its deadline, and the reading of what came back. What does not: retries,
budgets and the ledger (`language.desk`), and whether an answer is true (`Task.check`).
"""
