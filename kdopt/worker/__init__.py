"""What a worker does: take a trial, run it, record it, and give it back when it has to stop.

- ``worker``: the loop over trials
- ``scheduling``: how far each study is, which one the next trials come from, and how many
- ``inputs``: what it computes with, and the outcomes that later trials rest on
- ``heartbeat``: signs of life, and trials of workers that give none
- ``journal``: what a long trial saves and reports while it runs
- ``alone``: one worker in a process at a time
- ``keeping``: which students are worth a file
- ``stop_signals``: Ctrl-C, SIGTERM and the time limit
- ``worker_id``: who a worker is, and whether it still lives
"""
