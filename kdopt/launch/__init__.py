"""Start ``kdopt worker`` on this machine, on Slurm and on Ray. Launchers hold no state.

- ``call``: what a worker is told, wherever it starts
- ``local``: processes of this machine, one for each core or share of a GPU
- ``slurm``: Slurm jobs, each of which runs workers
- ``ray``: tasks of a Ray cluster, each of which is a worker
"""
