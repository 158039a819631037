"""What credentials look like in a text: regular expressions for those who take them out.

All are bounded and begin where the character before cannot belong to a match, so that even megabytes of base64 are
read once and not once a character.
"""

from __future__ import annotations

API_KEY = (
    r"(?<![A-Za-z0-9_-])"
    r"(?:(?:sk|pk|rk|xai|pplx|lh[ak]?|glpat|xox[abeprs])-|(?:sk|pk|rk)_(?:live|test)_"
    r"|(?:gsk|hf|r8|gh[opsur]|github_pat)_|AIza|ya29\.|AKIA|ASIA)"
    r"(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}"
)
"""Prefixes of the best-known services; a digit is asked for, so that words with dashes stay."""

WEB_TOKEN = r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}+\.eyJ[A-Za-z0-9_-]{8,8192}+\.[A-Za-z0-9_-]{8,4096}"  # noqa: S105
"""A signed JSON Web Token (RFC 7519)."""

BEARER = r"(?i:(?<![a-z0-9])(?:bearer|basic)\s{1,4})(?=[A-Za-z._~+/-]{0,128}[0-9])[A-Za-z0-9._~+/-]{16,4096}={0,2}"
"""As in an authorization header (RFC 6750, 7617); a digit is asked for here too."""

PRIVATE_KEY = (
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[A-Za-z0-9+/=\s\\:,]|-(?!-)){1,16384}+"
    r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
)
"""In PEM (RFC 7468), also with its line ends escaped, or cut off."""

PASSWORD_IN_ADDRESS = r"(?<=://)[^\s/:@\"']{0,128}:[^\s/@\"']{1,256}(?=@)"  # noqa: S105
"""Name and password of ``https://name:password@host``."""

FIELD_NAME = (
    r"(?:(?:x[_-])?api[_-]?key|(?:aws[_-])?secret[_-]?access[_-]?key|access[_-]?key|secret[_-]?key|client[_-]?secret"
    r"|private[_-]?key|secret|passw(?:or)?d|passphrase|(?:proxy[_-])?authorization"
    r"|(?:auth|access|refresh|bearer|session|id)[_-]?token|credentials?)"
)
"""What fields are called that hold one; in any case of letters."""

NAMED_SECRET = (
    rf"(?i:(?<![a-z0-9]){FIELD_NAME})(?:\\?[\"'])?\s{{0,3}}[:=]\s{{0,3}}(?:\\?[\"'])?"
    r"(?P<secret>[^\s\"'\\,;&<>(){}\[\]]{6,512})"
)
"""``password = …``, ``"api_key": "…"``; of a match the group `secret` is to go."""
