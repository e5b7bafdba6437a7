"""Country names to ISO 3166-1 alpha-2 codes, as feeds spell them. What is not known is None, never a guess."""

from __future__ import annotations

import re
import unicodedata

# Short English names (ISO 3166-1) and what feeds also write; XK is user-assigned.
_NAMES = """
AD Andorra|AE United Arab Emirates|AF Afghanistan|AG Antigua and Barbuda|AI Anguilla|AL Albania|AM Armenia|AO Angola
AQ Antarctica|AR Argentina|AS American Samoa|AT Austria|AU Australia|AW Aruba|AX Åland Islands|AZ Azerbaijan
BA Bosnia and Herzegovina|BB Barbados|BD Bangladesh|BE Belgium|BF Burkina Faso|BG Bulgaria|BH Bahrain|BI Burundi
BJ Benin|BL Saint Barthélemy|BM Bermuda|BN Brunei Darussalam;Brunei|BO Bolivia;Bolivia (Plurinational State of)
BQ Bonaire, Sint Eustatius and Saba|BR Brazil|BS Bahamas|BT Bhutan|BV Bouvet Island|BW Botswana|BY Belarus|BZ Belize
CA Canada|CC Cocos (Keeling) Islands|CD Congo (Democratic Republic of the);Democratic Republic of the Congo;DR Congo
CF Central African Republic|CG Congo;Republic of the Congo|CH Switzerland|CI Côte d'Ivoire;Ivory Coast|CK Cook Islands
CL Chile|CM Cameroon|CN China;People's Republic of China|CO Colombia|CR Costa Rica|CU Cuba|CV Cabo Verde;Cape Verde
CW Curaçao|CX Christmas Island|CY Cyprus|CZ Czechia;Czech Republic|DE Germany|DJ Djibouti|DK Denmark|DM Dominica
DO Dominican Republic|DZ Algeria|EC Ecuador|EE Estonia|EG Egypt|EH Western Sahara|ER Eritrea|ES Spain|ET Ethiopia
FI Finland|FJ Fiji|FK Falkland Islands;Falkland Islands (Malvinas)|FM Micronesia;Micronesia (Federated States of)
FO Faroe Islands;Faeroe Islands|FR France|GA Gabon|GD Grenada|GE Georgia|GF French Guiana|GG Guernsey|GH Ghana
GB United Kingdom;Great Britain;UK;United Kingdom of Great Britain and Northern Ireland;United Kingdom (Northern Ireland)
GI Gibraltar|GL Greenland|GM Gambia|GN Guinea|GP Guadeloupe|GQ Equatorial Guinea|GR Greece|GT Guatemala|GU Guam
GS South Georgia and the South Sandwich Islands|GW Guinea-Bissau|GY Guyana|HK Hong Kong;Hong Kong SAR|HN Honduras
HM Heard Island and McDonald Islands|HR Croatia|HT Haiti|HU Hungary|ID Indonesia|IE Ireland|IL Israel|IM Isle of Man
IN India|IO British Indian Ocean Territory|IQ Iraq|IR Iran;Iran (Islamic Republic of);Islamic Republic of Iran
IS Iceland|IT Italy|JE Jersey|JM Jamaica|JO Jordan|JP Japan|KE Kenya|KG Kyrgyzstan|KH Cambodia|KI Kiribati|KM Comoros
KN Saint Kitts and Nevis|KP North Korea;Korea (Democratic People's Republic of)|KW Kuwait|KY Cayman Islands
KR South Korea;Korea (Republic of);Republic of Korea|KZ Kazakhstan|LA Laos;Lao People's Democratic Republic|LB Lebanon
LC Saint Lucia|LI Liechtenstein|LK Sri Lanka|LR Liberia|LS Lesotho|LT Lithuania|LU Luxembourg|LV Latvia|LY Libya
MA Morocco|MC Monaco|MD Moldova;Republic of Moldova;Moldova (Republic of)|ME Montenegro|MF Saint Martin|MG Madagascar
MH Marshall Islands|MK North Macedonia;Republic of North Macedonia|ML Mali|MM Myanmar;Burma;Myanmar (Burma)|MN Mongolia
MO Macao;Macau|MP Northern Mariana Islands|MQ Martinique|MR Mauritania|MS Montserrat|MT Malta|MU Mauritius|MV Maldives
MW Malawi|MX Mexico|MY Malaysia|MZ Mozambique|NA Namibia|NC New Caledonia|NE Niger|NF Norfolk Island|NG Nigeria
NI Nicaragua|NL Netherlands|NO Norway|NP Nepal|NR Nauru|NU Niue|NZ New Zealand|OM Oman|PA Panama|PE Peru
PF French Polynesia|PG Papua New Guinea|PH Philippines|PK Pakistan|PL Poland|PM Saint Pierre and Miquelon|PN Pitcairn
PR Puerto Rico|PS Palestine;State of Palestine;Palestine, State of;Palestinian Territory|PT Portugal|PW Palau
PY Paraguay|QA Qatar|RE Réunion|RO Romania|RS Serbia|RU Russia;Russian Federation|RW Rwanda|SA Saudi Arabia
SB Solomon Islands|SC Seychelles|SD Sudan|SE Sweden|SG Singapore|SH Saint Helena|SI Slovenia|SJ Svalbard and Jan Mayen
SK Slovakia;Slovak Republic|SL Sierra Leone|SM San Marino|SN Senegal|SO Somalia|SR Suriname|SS South Sudan
ST Sao Tome and Principe|SV El Salvador|SX Sint Maarten|SY Syria;Syrian Arab Republic|SZ Eswatini;Swaziland
TC Turks and Caicos Islands|TD Chad|TF French Southern Territories|TG Togo|TH Thailand|TJ Tajikistan|TK Tokelau
TL Timor-Leste;East Timor|TM Turkmenistan|TN Tunisia|TO Tonga|TR Türkiye;Turkey|TT Trinidad and Tobago|TV Tuvalu
TW Taiwan;Taiwan (Province of China);Chinese Taipei|TZ Tanzania;United Republic of Tanzania;Tanzania (United Republic of)
UA Ukraine|UG Uganda|UM United States Minor Outlying Islands|US United States;United States of America;USA|UY Uruguay
UZ Uzbekistan|VA Holy See;Vatican City|VC Saint Vincent and the Grenadines|VE Venezuela;Venezuela (Bolivarian Republic of)
VG Virgin Islands (British);British Virgin Islands|VI Virgin Islands (U.S.)|VN Viet Nam;Vietnam|VU Vanuatu
WF Wallis and Futuna|WS Samoa|XK Kosovo|YE Yemen|YT Mayotte|ZA South Africa|ZM Zambia|ZW Zimbabwe
"""


def _fold(name: str) -> str:
    """Accents, case, punctuation and articles do not distinguish countries."""
    plain = unicodedata.normalize("NFKD", name.replace("&", " and ").replace("’", "'"))
    words = re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower())
    return " ".join("saint" if word == "st" else word for word in words if word != "the")


_CODES = {
    _fold(name): entry[:2]
    for entry in re.split(r"[|\n]", _NAMES.strip())
    for name in (entry[:2], *entry[3:].split(";"))
}


def code_of(name: str) -> str | None:
    """The code of a country named or coded in a feed; None when it is not known."""
    return _CODES.get(_fold(name))
