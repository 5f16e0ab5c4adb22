"""Attention-driven Factor Model (Chen, Zhuang, Hong, Ao, Xie, He; SIGIR 2018)."""
