"""Passwords that whoever guesses tries first; those shorter than the shortest allowed one are left out."""

_LINES = """
password password1 password12 password123 password1234 password! p@ssword p@ssw0rd passw0rd passw0rd1 pa55word
passwort passwort1 password01 password2 mypassword yourpassword thepassword newpassword 12345678 123456789
1234567890 0123456789 123123123 12341234 11111111 111111111 00000000 000000000 22222222 33333333 44444444
55555555 66666666 77777777 88888888 99999999 87654321 987654321 0987654321 12344321 11223344 112233445566
13131313 12121212 10101010 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qazxsw2 1234qwer qwer1234 qwerty12 qwerty123
qwerty1234 qwertyui qwertyuiop qwertyu1 qwerty123456 123qweasd zaq12wsx zaq1zaq1 q1w2e3r4 q1w2e3r4t5 asdfghjk
asdfghjkl asdfasdf asdf1234 zxcvbnm1 zxcvbnm123 qazwsxedc abcdefgh abcd1234 abc12345 abc123456 a1b2c3d4
aaaaaaaa a12345678 aa123456 aa12345678 abcdefg1 iloveyou iloveyou1 iloveyou2 iloveyou! loveyou1 lovelove
loverboy princess princess1 sunshine sunshine1 football football1 baseball baseball1 basketball softball
superman superman1 spiderman batman123 starwars starwars1 pokemon1 pokemon123 dragon12 dragon123 monkey12
monkey123 shadow12 master12 master123 welcome1 welcome12 welcome123 welcome! letmein1 letmein12 letmein123
letmein! changeme changeme1 changeit trustno1 whatever whatever1 computer computer1 internet internet1
samsung1 samsung123 michael1 jennifer jessica1 charlie1 jordan23 michelle danielle victoria alexander
elizabeth liverpool chelsea1 arsenal1 administrator admin123 admin1234 admin12345 admin123456 adminadmin
rootroot root1234 testtest test1234 test12345 testing1 testing123 guest123 user1234 default1 temp1234
temporary secret12 secret123 topsecret access14 hello123 hello1234 helloworld summer2023 summer2024 summer2025
summer2026 winter2023 winter2024 winter2025 winter2026 spring2025 autumn2025 january1 december1 november1
qweasdzxc 147258369 159753456 159357456 741852963 789456123 456789123 321321321 147147147 maverick midnight
corvette mercedes mustang1 harley12 ferrari1 butterfly cheese123 chocolate cookie123 blink182 metallica
slipknot nirvana1 rockyou1 scooter1 freedom1 bluebird marlboro patricia benjamin nicholas fuckyou1 fuckyou!
asshole1 babygirl babygirl1 lovers123 angel123 tinkerbell justin12 matthew1 anthony1 hunter12 hunter123
killer123 ginger12
"""

COMMON = frozenset(_LINES.split())
