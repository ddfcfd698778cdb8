"""What is asked, one module per question: the answer's type, the task, its check.

What belongs here: tasks made of typed facts, with everything an answer must hold to. What does not: asking (`desk`),
the words of the prompts (`prompts`), and the embedded writers that answer where no model does.
"""
