"""The pages of the admin, by Django's test client."""
