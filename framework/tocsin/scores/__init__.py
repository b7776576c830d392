"""After a model: the scores table, metrics, trivial baselines, intervals and reports. No torch.

Import from the modules (`tocsin.scores.table`, `.metrics`, `.baselines`, `.statistics`, `.report`, `.roles`);
this package imports nothing by itself.
"""
