"""What looks at requests and answers on their way."""
