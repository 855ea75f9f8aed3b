"""From trial rows to tables: what a campaign found, as plain values. No torch, no database.

results
    The trial rows of a campaign, indexed once.
partition_runs
    Trials of the stages that have studies per partition, not per pair.
stats, strata
    Means with intervals, spreads, rank correlations: pure functions.
paired_test
    Models compared on the same images, one by one, and whether the best is really better.
tables
    Every table of a campaign, each computed once; reports, dashboard and claims read these.
progress
    What is done, failed and missing, what it cost, and how far replicates differ.
best_settings
    The best temperature and alpha of every pair, and its whole surface.
verdicts
    Leave a pair's student as it is, train it on, or distil.
reruns
    A trial that ran again beside its record.
students
    Which trial's student is taken home, and what is known of it.
tuning
    What tuning gains, where it pays, and the full grid beside the sequential search.
tuned_methods
    Methods with parameters of their own, at each pair's best setting.
method_gains
    What every method gains for every pair on every transfer set.
method_summaries
    Transfers, learning and forgetting, best teachers, tuning against the best untuned method, and
    what figures show of many values.
combining
    All participants distilled into one model (Table II of the paper).
federated
    Federated averaging: accuracy by round, and rounds saved.
federated_comparison
    Federated algorithms and what they start from, side by side.
agreement
    Several campaigns side by side.
paper
    The paper's claims, judged by these tables.
"""
