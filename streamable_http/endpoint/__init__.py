"""The one flow from a request to its response; framework types stay outside."""
