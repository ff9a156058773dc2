"""Networks that metrics look through: trained once on real data, cached, and handed over frozen."""
