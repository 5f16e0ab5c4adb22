"""Barkan et al. (RecSys 2020): Attentive Multi-Persona Collaborative Filtering (AMP-CF)."""
