"""How good the tracks are: metrics at natural prevalence, tables of them, and plots."""
