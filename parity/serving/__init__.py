"""The server: a backend that writes, asked over HTTP as OpenAI's clients ask.

A request goes through the gate (`gate.py`: who may ask, and how much), becomes a conversation (`chat.py`,
`attachments.py`), waits at the desk for its turn with the model, which is in a process of its own (`desk.py`), and is
answered as it is written (`replies.py`). `routes.py` says what there is to ask for, and `server.py` binds and ends.
"""
