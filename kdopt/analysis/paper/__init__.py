"""The paper's claims C1 to C14, judged by the tables of a campaign.

claims
    All claims in order; C10 between any two campaigns.
judging
    Contrasts with intervals, and the rule that turns them into verdicts.
tuning_claims
    C5 to C10: what tuning gains, and which settings it finds.
method_claims
    C1 to C4, C11 and C12: methods, best teachers, learning and forgetting.
many_teacher_claims
    C13 and C14: many teachers in one model, and federated averaging from there.
"""
