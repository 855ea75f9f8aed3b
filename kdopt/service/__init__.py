"""What is done to, and asked of, a whole campaign in its store.

- ``planner``: from a campaign file to planned trials
- ``outlook``: what is to come before it starts: images, trials, time
- ``status``: how far a campaign is; ``status_values``: the answer, and its JSON
- ``stage_progress``: counts, pace and ETA of stages
- ``doctor``: whether anything was lost or done twice
- ``rerun``: recorded trials run again, random ones compared with their records
- ``distill``: the student of a pair, taken home, and its files
"""
