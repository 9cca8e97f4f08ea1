"""What costs are likely to become, and the periods of budgets; no clock, no database."""
