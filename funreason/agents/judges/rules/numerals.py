"""Numbers, days and times of day in other languages, put into English so that `numbers` reads them.

`in_english` returns a text with number words, months, weekdays, clock times and words such as *tomorrow* exchanged for
English ones; all else stays. Words of the Latin script are exchanged only where the text is in their language, since
many are words of English too (`on`, `six`, `once`); a month counts beside a number in every language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from funreason.agents.judges.rules.scripts import apart, folded, scripts_in
from funreason.agents.judges.rules.words import MONTHS, WEEKDAYS, WORD

_CUES: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to in is for a me my what how on with please i you it that this from are be at can do show",
        "de": "sind viel der die das und ist fur nach von mit im den bitte ein eine ich wie wo zu am um wir mir mein "
        "zeig dem des es auf also nutzer stadt fur",
        "fr": "le la les des et est pour de du un une je quel quelle ou mon ma me moi dans avec sur au aux "
        "il que nous donc utilisateur ville cet cette",
        "es": "el la los las de del y es para en un una que cual mi me por con donde quiero al se hay como "
        "usuario ciudad entonces",
        "it": "il lo la i gli di del della e per in un una che mi con dove voglio da al nel come sono mio",
        "pt": "o a os as de do da e para em um uma que qual meu me com onde quero no na ao por como nos",
        "nl": "de het een en is voor van met in naar ik mijn mij hoe waar op aan wat wij zijn dat te",
        "tr": "kac lira dolar eder ve bir icin ne nasil bana benim mi mu ile bu en nerede lutfen var olacak "
        "goster saat kisi tarihinde numarali kullanici sehir tarih",
        "pl": "i w na z do dla jest jak gdzie moj mi prosze sie co od po jaka czy o dnia mnie",
        "sv": "och att en ett ar for till fran med pa jag min mig hur var vad den det i av",
        "vi": "la va cua cho toi o tai tu den ngay gio bao nhieu mot co khong nao hay",
        "id": "yang dan di ke dari untuk saya berapa apa bagaimana pada dengan ini itu tolong ada",
        "fi": "ja on mika missa miten minun minulle kuinka paljon klo olen haluan",
        "hu": "a az es hogy milyen mi hol nekem ban ben kerem egy van lesz holnap hany",
    }.items()
}
_LETTERS = {
    language: frozenset(letters)
    for language, letters in {
        "tr": "şğı",
        "hu": "őű",
        "pl": "łąężśćń",
        "de": "ß",
        "es": "ñ¿¡",
        "pt": "ãõ",
        "vi": "ạảấầậắằặẹẻẽếềểễệịọỏốồổộớờởợụủứừửữựỳỷỹđ",
    }.items()
}
ENGLISH = _CUES["en"]
"""Words that show a text to be English."""
_INFLECTING = frozenset({"de", "tr", "pl", "fi", "hu"})
"""Languages of the Latin script that decline names."""

_MONTH_NAMES = """
januar februar marz april mai juni juli august september oktober november dezember
janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre
enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro
januari februari maart april mei juni juli augustus september oktober november december
ocak subat mart nisan mayis haziran temmuz agustos eylul ekim kasim aralik
stycznia lutego marca kwietnia maja czerwca lipca sierpnia wrzesnia pazdziernika listopada grudnia
januari februari mars april maj juni juli augusti september oktober november december
januari februari maret april mei juni juli agustus september oktober november desember
tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesakuuta heinakuuta elokuuta syyskuuta lokakuuta \
marraskuuta joulukuuta
januar februar marcius aprilis majus junius julius augusztus szeptember oktober november december
января февраля марта апреля мая июня июля августа сентября октября ноября декабря
январь февраль март апрель май июнь июль август сентябрь октябрь ноябрь декабрь
январе феврале марте апреле мае июне июле августе сентябре октябре ноябре декабре
січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня
ιανουαριου φεβρουαριου μαρτιου απριλιου μαιου ιουνιου ιουλιου αυγουστου σεπτεμβριου οκτωβριου νοεμβριου δεκεμβριου
ιανουαριοσ φεβρουαριοσ μαρτιοσ απριλιοσ μαιοσ ιουνιοσ ιουλιοσ αυγουστοσ σεπτεμβριοσ οκτωβριοσ νοεμβριοσ δεκεμβριοσ
يناير فبراير مارس ابريل مايو يونيو يوليو اغسطس سبتمبر اكتوبر نوفمبر ديسمبر
كانون_الثاني شباط اذار نيسان ايار حزيران تموز اب ايلول تشرين_الاول تشرين_الثاني كانون_الاول
جانفي فيفري مارس افريل ماي جوان جويليه اوت سبتمبر اكتوبر نوفمبر ديسمبر
ינואר פברואר מרץ אפריל מאי יוני יולי אוגוסט ספטמבר אוקטובר נובמבר דצמבר
जनवरी फरवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर
जनवरी फ़रवरी मार्च अप्रैल मई जून जुलाई अगस्त सितम्बर अक्तूबर नवम्बर दिसम्बर
มกราคม กุมภาพันธ์ มีนาคม เมษายน พฤษภาคม มิถุนายน กรกฎาคม สิงหาคม กันยายน ตุลาคม พฤศจิกายน ธันวาคม
ม.ค. ก.พ. มี.ค. เม.ย. พ.ค. มิ.ย. ก.ค. ส.ค. ก.ย. ต.ค. พ.ย. ธ.ค.
"""
_WEEKDAY_NAMES = """
montag dienstag mittwoch donnerstag freitag samstag sonntag
lundi mardi mercredi jeudi vendredi samedi dimanche
lunes martes miercoles jueves viernes sabado domingo
pazartesi sali carsamba persembe cuma cumartesi pazar
понедельник вторник среду четверг пятницу субботу воскресенье
понедельник вторник среда четверг пятница суббота воскресенье
δευτερα τριτη τεταρτη πεμπτη παρασκευη σαββατο κυριακη
الاثنين الثلاثاء الاربعاء الخميس الجمعه السبت الاحد
सोमवार मंगलवार बुधवार गुरुवार शुक्रवार शनिवार रविवार
วันจันทร์ วันอังคาร วันพุธ วันพฤหัส วันศุกร์ วันเสาร์ วันอาทิตย์
월요일 화요일 수요일 목요일 금요일 토요일 일요일
月曜 火曜 水曜 木曜 金曜 土曜 日曜
周一 周二 周三 周四 周五 周六 周日
星期一 星期二 星期三 星期四 星期五 星期六 星期日
礼拜一 礼拜二 礼拜三 礼拜四 礼拜五 礼拜六 礼拜天
"""
_RELATIVE = {
    "tomorrow": "明天 明日 后天 明晚 明早 明後日 あした あす 내일 모레 завтра послезавтра αυριο μεθαυριο غدا "
    "بعد_غد מחר कल परसों พรุ่งนี้ มะรืนนี้",
    "today": "今天 今日 今晚 今早 今夜 きょう 오늘 сегодня σημερα اليوم الليله היום आज วันนี้ คืนนี้",
    "yesterday": "昨天 昨日 前天 きのう 어제 вчера χθεσ χτεσ امس אתמול เมื่อวาน",
    "now": "现在 目前 当前 此刻 刚才 지금 현재 сейчас τωρα الان עכשיו अभी ตอนนี้",
    "next week": "下周 下星期 下个月 下月 下礼拜 来周 来月 来年 明年 次の 今度 다음_주 다음_달 다음주 다음달 내년 "
    "следующ επομεν القادم المقبل הבא अगले สัปดาห์หน้า เดือนหน้า อาทิตย์หน้า ปีหน้า",
    "last week": "上周 上星期 上个月 上月 去年 先周 先月 지난 작년 прошл περασμεν الماضي שעבר पिछले ที่แล้ว",
    "weekend": "周末 周末 週末 주말 выходн σαββατοκυριακο نهايه_الاسبوع סוף_שבוע सप्ताहांत สุดสัปดาห์",
}
_LATIN_RELATIVE = {
    "tomorrow": "morgen ubermorgen demain manana domani amanha yarin jutro imorgon besok huomenna holnap",
    "today": "heute aujourd hoy oggi hoje bugun dzisiaj idag vandaag tanaan",
    "yesterday": "gestern hier ayer ieri ontem dun wczoraj igar gisteren eilen tegnap",
    "next week": "nachste nachsten nachster nachstes kommende kommenden prochain prochaine proximo proxima prossimo "
    "prossima haftaya gelecek onumuzdeki",
    "last week": "letzte letzten letzter dernier derniere pasado pasada scorso scorsa gecen",
    "weekend": "wochenende fin_de_semana",
}
_NUMBER_WORDS = """
1 один одну одного одна|ενα μια ενασ|واحد واحده|אחד אחת|एक|หนึ่ง|하나 한
2 два две двух двое двоих двумя|δυο|اثنان اثنين اثنتان اثنتين|שניים שתיים שני שתי|दो|สอง|둘 두
3 три трех трое троих тремя трем|τρια τρεισ|ثلاثه ثلاث|שלוש שלושה|तीन|สาม|셋 세
4 четыре четырех четверо четверых|τεσσερα τεσσερισ|اربعه اربع|ארבע ארבעה|चार|สี่|넷 네
5 пять пяти пятеро пятерых|πεντε|خمسه خمس|חמש חמישה|पांच पाच पाँच|ห้า|다섯
6 шесть шести шестеро шестерых|εξι|سته ست|שש שישה|छह छः छे|หก|여섯
7 семь семи семеро семерых|επτα εφτα|سبعه سبع|שבע שבעה|सात|เจ็ด|일곱
8 восемь восьми|οκτω οχτω|ثمانيه ثماني ثمان|שמונה|आठ|แปด|여덟
9 девять девяти|εννεα εννια|تسعه تسع|תשע תשעה|नौ|เก้า|아홉
10 десять десяти|δεκα|عشره عشر|עשר עשרה|दस|สิบ|열
11 одиннадцать одиннадцати|εντεκα ενδεκα|احد_عشر|אחת_עשרה|ग्यारह|สิบเอ็ด|열하나 열한
12 двенадцать двенадцати|δωδεκα|اثني_عشر اثنا_عشر|שתים_עשרה שנים_עשר|बारह|สิบสอง|열둘 열두
13 тринадцать тринадцати|δεκατρια|ثلاثه_عشر|שלוש_עשרה|तेरह|สิบสาม|열셋 열세
14 четырнадцать четырнадцати|δεκατεσσερα|اربعه_عشر|ארבע_עשרה|चौदह|สิบสี่|열넷 열네
15 пятнадцать пятнадцати|δεκαπεντε|خمسه_عشر|חמש_עשרה|पंद्रह पन्द्रह|สิบห้า|열다섯
16 шестнадцать шестнадцати|δεκαεξι|سته_عشر|שש_עשרה|सोलह|สิบหก|열여섯
17 семнадцать семнадцати|δεκαεπτα δεκαεφτα|سبعه_عشر|שבע_עשרה|सत्रह|สิบเจ็ด|열일곱
18 восемнадцать восемнадцати|δεκαοκτω δεκαοχτω|ثمانيه_عشر|שמונה_עשרה|अठारह|สิบแปด|열여덟
19 девятнадцать девятнадцати|δεκαεννεα δεκαεννια|تسعه_عشر|תשע_עשרה|उन्नीस|สิบเก้า|열아홉
20 двадцать двадцати|εικοσι|عشرون عشرين|עשרים|बीस|ยี่สิบ|스물 스무
25 двадцать_пять||خمسه_وعشرين خمسه_وعشرون||पच्चीस|ยี่สิบห้า|스물다섯
30 тридцать тридцати|τριαντα|ثلاثون ثلاثين|שלושים|तीस|สามสิบ|서른
40 сорок сорока|σαραντα|اربعون اربعين|ארבעים|चालीस|สี่สิบ|마흔
50 пятьдесят пятидесяти|πενηντα|خمسون خمسين|חמישים|पचास|ห้าสิบ|쉰
60 шестьдесят шестидесяти|εξηντα|ستون ستين|שישים|साठ|หกสิบ|예순
70 семьдесят семидесяти|εβδομηντα|سبعون سبعين|שבעים|सत्तर|เจ็ดสิบ|일흔
80 восемьдесят восьмидесяти|ογδοντα|ثمانون ثمانين|שמונים|अस्सी|แปดสิบ|여든
90 девяносто|ενενηντα|تسعون تسعين|תשעים|नब्बे|เก้าสิบ|아흔
100 сто ста сотню|εκατο|مئه مائه ميه|מאה|सौ|ร้อย หนึ่งร้อย|
1000 тысяча тысячи тысяч тысячу|χιλια χιλιαδεσ|الف الاف|אלף|हजार हज़ार|พัน หนึ่งพัน|
1000000 миллион миллиона миллионов|εκατομμυριο εκατομμυρια|مليون|מיליון||ล้าน|
"""
_ORDINALS = """
1 перв|πρωτ|الاولي الاول|पहल|
2 втор|δευτερ|الثانيه الثاني|दूसर|
3 трет|τριτ|الثالثه الثالث|तीसर|
4 четверт|τεταρτ|الرابعه الرابع|चौथ|
5 пятого пятое|πεμπτ|الخامسه الخامس|पांचव पाचव|
6 шестого шестое|εκτ|السادسه السادس|छठ|
7 седьмого седьмое|εβδομ|السابعه السابع|सातव|
8 восьмого восьмое|ογδο|الثامنه الثامن|आठव|
9 девятого девятое|ενατ|التاسعه التاسع|नौव|
10 десятого десятое|δεκατ|العاشره العاشر|दसव|
11 одиннадцатого|ενδεκατ|الحاديه_عشره||
12 двенадцатого|δωδεκατ|الثانيه_عشره||
15 пятнадцатого||||
20 двадцатого||||
30 тридцатого||||
"""
_LATIN_NUMBERS = {
    "de": "null eins zwei drei vier funf sechs sieben acht neun zehn elf zwolf dreizehn vierzehn funfzehn "
    "sechzehn siebzehn "
    "achtzehn neunzehn zwanzig:20 dreissig:30 vierzig:40 funfzig:50 sechzig:60 siebzig:70 achtzig:80 "
    "neunzig:90 hundert:100 "
    "tausend:1000 zwo:2 million:1000000 millionen:1000000 dutzend:12 ersten:1 zweiten:2 dritten:3 "
    "vierten:4 funften:5 "
    "sechsten:6 siebten:7 achten:8 neunten:9 zehnten:10 elften:11 zwolften:12 dreizehnten:13 "
    "vierzehnten:14 funfzehnten:15 "
    "zwanzigsten:20 dreissigsten:30",
    "fr": "zero un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize "
    "dix-sept dix-huit "
    "dix-neuf vingt:20 trente:30 quarante:40 cinquante:50 soixante:60 quatre-vingt:80 quatre-vingts:80 "
    "cent:100 cents:100 "
    "mille:1000 million:1000000 millions:1000000 premier:1 deuxieme:2 troisieme:3 douzaine:12 septante:70 nonante:90 "
    "soixante-dix:70 quatre-vingt-dix:90",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciseis diecisiete "
    "dieciocho diecinueve veinte:20 veintiuno:21 veintidos:22 veintitres:23 veinticuatro:24 "
    "veinticinco:25 veintiseis:26 "
    "veintisiete:27 veintiocho:28 veintinueve:29 treinta:30 cuarenta:40 cincuenta:50 sesenta:60 "
    "setenta:70 ochenta:80 "
    "noventa:90 cien:100 ciento:100 mil:1000 millon:1000000 millones:1000000 primer:1 primero:1 "
    "segundo:2 tercero:3 docena:12",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici "
    "quindici sedici "
    "diciassette diciotto diciannove venti:20 venticinque:25 trenta:30 quaranta:40 cinquanta:50 "
    "sessanta:60 settanta:70 "
    "ottanta:80 novanta:90 cento:100 mille:1000 mila:1000 primo:1 secondo:2 terzo:3",
    "pt": "zero um dois tres quatro cinco seis sete oito nove dez onze doze treze catorze quinze dezesseis "
    "dezessete dezoito "
    "dezenove vinte:20 trinta:30 quarenta:40 cinquenta:50 sessenta:60 setenta:70 oitenta:80 noventa:90 "
    "cem:100 cento:100 "
    "mil:1000 milhao:1000000 milhoes:1000000 duas:2 primeiro:1 segundo:2 terceiro:3 duzia:12",
    "nl": "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien "
    "zestien zeventien "
    "achttien negentien twintig:20 dertig:30 veertig:40 vijftig:50 zestig:60 zeventig:70 tachtig:80 "
    "negentig:90 honderd:100 "
    "duizend:1000",
    "tr": "sifir bir iki uc dort bes alti yedi sekiz dokuz on:10 yirmi:20 otuz:30 kirk:40 elli:50 altmis:60 "
    "yetmis:70 "
    "seksen:80 doksan:90 yuz:100 bin:1000 milyon:1000000 birinci:1 ikinci:2 ucuncu:3 dorduncu:4 besinci:5 duzine:12",
    "pl": "zero jeden dwa trzy cztery piec szesc siedem osiem dziewiec dziesiec jedenascie dwanascie "
    "trzynascie czternascie "
    "pietnascie szesnascie siedemnascie osiemnascie dziewietnascie dwadziescia:20 trzydziesci:30 "
    "czterdziesci:40 sto:100 "
    "tysiac:1000 dwie:2 dwoch:2 trzech:3 czterech:4",
    "sv": "noll ett tva tre fyra fem sex sju atta nio tio elva tolv tretton fjorton femton sexton sjutton "
    "arton nitton tjugo:20 "
    "trettio:30 fyrtio:40 femtio:50 hundra:100 tusen:1000",
    "vi": "khong mot hai ba bon nam sau bay tam chin muoi:10 tram:100 nghin:1000 ngan:1000 trieu:1000000",
    "id": "nol satu dua tiga empat lima enam tujuh delapan sembilan sepuluh sebelas belas:10 puluh:10 "
    "ratus:100 ribu:1000 juta:1000000",
    "fi": "nolla yksi kaksi kolme nelja viisi kuusi seitseman kahdeksan yhdeksan kymmenen sata:100 "
    "tuhat:1000 kahdelle:2 "
    "kolmelle:3 neljalle:4",
    "hu": "nulla egy ketto harom negy ot hat het nyolc kilenc tiz husz:20 harminc:30 szaz:100 ezer:1000 ket:2",
}
_HALF_DAYS = {
    "am1": "上午 早上 早晨 凌晨 清晨 午前 朝 오전 아침 새벽 सुबह ตอนเช้า sabah",
    "pm1": "下午 中午 晚上 傍晚 晚间 夜里 午后 午後 夜 夕方 晩 오후 저녁 밤 दोपहर शाम रात ตอนบ่าย บ่าย "
    "ตอนเย็น aksam ogleden_sonra",
    "am2": "утра ранку πμ π.μ. το_πρωι صباحا בבוקר เช้า morgens vormittags du_matin de_la_manana da_manha "
    "rano di_mattina",
    "pm2": "дня вечера вечора μμ μ.μ. το_βραδυ το_απογευμα το_μεσημερι مساء ظهرا بعد_الظهر ليلا בערב "
    "אחר_הצהריים เย็น ทุ่ม abends "
    "nachmittags nachts du_soir de_l'apres-midi de_la_tarde de_la_noche da_tarde da_noite wieczorem di_sera",
}
"""Words for the halves of a day: those before an hour (1) and those after it (2)."""
_HOUR = r"(?:点钟|点|時|时|시|часов|часа|час|बजे|โมง|นาฬิกา|น\.|(?:uhr|heures?|h|saat|ωρα)(?![a-z]))"
_HAN_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1_000, "万": 10_000, "萬": 10_000, "亿": 10**8, "億": 10**8}
_COUNTERS = (
    "个人位名张点时号月日年天间晚杯次件份本台辆匹只头条枚泊冊歳岁元圆块小分秒度楼阶"
    "层代番回周等刻成折家座盘碗瓶款部口双套桌道顿趟则群句页站届束盒袋斤厘里米毫公吨克升"
)
"""What a single Han numeral counts, in folded spelling; elsewhere 一 or 三 may be part of a word."""
_HAN_NUMERALS = "〇零一二两三四五六七八九十百千万亿"
_HAN_NUMBER = re.compile(
    f"[{_HAN_NUMERALS}]{{2,}}|(?<=[第之])[{_HAN_NUMERALS}]|[一二两三四五六七八九十百千](?=[{_COUNTERS}])"
)
_HAN_SCALED = re.compile(r"(?<!\d)(\d++(?:\.\d++)?)\s*([万亿만억千천])(?![十百千万亿십백천])")
_SINO_KOREAN = {char: value for value, char in enumerate("영일이삼사오육칠팔구")}
_KOREAN_SCALES = {"십": 10, "백": 100, "천": 1_000, "만": 10_000}
_KOREAN_NUMBER = re.compile(
    "(?<![가-힣])[일이삼사오육칠팔구십백천만]+(?=\\s?(?:명|개|월|일|년|번|시|분|층|원|호)(?![가-힣]{2}))"
)
_COUNTED = {
    "hangul": r"명|개|시|번|잔|장|분|살|권|대|마리|병|곳|사람|자리|박|층|그릇|달|주|\W*$",
    "thai": "คน|ท่าน|ที่|วัน|คืน|ใบ|ชิ้น|โมง|ทุ่ม|นาที|ชั่วโมง|บาท|เดือน|ปี|ตัว|อัน|ห้อง|แก้ว|เล่ม|คัน|จาน|ครั้ง|กล่อง|รายการ|$",
}
"""What is counted, where a number word may be part of another word."""
_ARABIC_PREFIXES = "وبلفك"
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "民国": 1911}
_ERA = re.compile(rf"({'|'.join(_ERAS)})\s*(\d{{1,2}}|元)\s*年")
_DAY = re.compile(r"(?:(\d{4})\s*[年년]\s*)?(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日号號일]?")
_MONTH_ONLY = re.compile(r"(?:(\d{4})\s*[年년]\s*)(\d{1,2})\s*[月월](?!\s*\d)")
_BUDDHIST = re.compile(r"\b(2[45]\d\d)\b")
_PERCENT = re.compile(r"(?:%之|퍼센트)\s*(\d+(?:\.\d+)?)")
_ORDINAL_DAY = re.compile(r"\b(\d{1,2})\s{0,2}(?:\.|-?го|-?е|er|º|-?ого)?\s{1,3}(?:de\s{1,2})?(?=[a-z]{3})")
_YEAR_AFTER = re.compile(r"(?<=[a-z]{3}) (?:de|del|года?)? ?(?=\d{4})")
_SHORT_DAY = re.compile(r"(?<![\d./:])(\d{1,2})[./](\d{1,2})(?:\.(?!\d)|(?![\d./:]))")
_LONG = 5
_ENGLISH_TOO = frozenset("million millions premier primo primero segundo seconds".split())
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:[. ]\d{3})+(?:,\d+)?(?![\d.,]{0,30}\d)")
_COMMA_POINT = re.compile(r"(?<![\d.,])(\d+),(\d{1,2})(?![\d.,]*\d)")
_RANGE = re.compile(
    r"\b(\d{1,2})\.?\s?(?:bis(?: zum)?|al|au|a|do|по|до|-|–|εωσ|ωσ)\s?(?=\d{1,2}\.?\s+(?:de )?"
    rf"({'|'.join(MONTHS)}))"
)
_HAN_RANGE = re.compile(r"(\d{1,2}\s?月\s?)(\d{1,2}\s?[日号])(\s?(?:から|到|至|~|-|–|和|、)\s?)(?=\d{1,2}\s?[日号])")
_MOST = 100_000
"""Of a longer text only so much is put into English."""


def languages_of(text: str) -> frozenset[str]:
    """The languages of the Latin script that a plain text may be in, by its small words; none for English."""
    words = set(WORD.findall(folded(text)))
    counts = {language: len(words & cues) for language, cues in _CUES.items()}
    if not text.isascii():
        for language, letters in _LETTERS.items():
            counts[language] += 2 * (not letters.isdisjoint(text))
    most = max(counts.values())
    if most < 2 and (found := {language for language in _LATIN_NUMBERS if words & _long_numbers(language)}):
        return frozenset(found)
    if most < 2 or counts["en"] == most:
        return frozenset()
    return frozenset(language for language, count in counts.items() if count >= 2 and count + 1 >= most) - {"en"}


@lru_cache(maxsize=32)
def _long_numbers(language: str) -> frozenset[str]:
    """Number words that show a language without any other word of it."""
    words = (folded(entry.partition(":")[0]) for entry in _LATIN_NUMBERS[language].split())
    return frozenset(word for word in words if len(word) >= _LONG) - _ENGLISH_TOO


def inflects(languages: frozenset[str]) -> bool:
    """Whether one of the languages declines names."""
    return bool(languages & _INFLECTING)


def in_english(text: str, languages: frozenset[str] = frozenset()) -> str:
    """The plain text with its numbers, days and times in English; "" for an English text, which needs no other form."""
    low = " ".join(folded(text[:_MOST]).split())
    scripts = scripts_in(low)
    if scripts <= {"latin"} and not languages:
        pattern, meaning = _month_table("")
        changed = pattern.sub(lambda match: f"{match[1]}{meaning[match[2]]} ", low)
        return "" if changed == low else _days(changed)
    if "han" in scripts or "kana" in scripts:  # numerals as digits, then days and clock times
        for word, english in _han_words():
            low = low.replace(word, f" {english} ")
        low = _HAN_SCALED.sub(_scaled, low.replace("百分之", "%之"))
        low = _HAN_NUMBER.sub(lambda match: str(_place_value(match[0], _HAN_DIGITS, _HAN_SCALES)), low)
        low = _ERA.sub(lambda match: f"{_ERAS[match[1]] + (1 if match[2] == '元' else int(match[2]))}年", low)
        low = _dates(_PERCENT.sub(r" \1 % ", low))
    if "hangul" in scripts:
        low = _HAN_SCALED.sub(_scaled, low)
        low = _KOREAN_NUMBER.sub(lambda match: str(_place_value(match[0], _SINO_KOREAN, _KOREAN_SCALES)), low)
        low = _dates(low)
    foreign = scripts - {"latin", "han", "kana", "hangul"}
    for script in sorted(foreign | ({"hangul"} & scripts)):
        if script in _NON_LATIN:
            low = _exchanged(low, script)
    if "thai" in scripts:
        low = _BUDDHIST.sub(lambda match: str(int(match[1]) - 543), low)
    for language in sorted(languages):
        if language in _LATIN_NUMBERS:
            low = _exchanged(low, language)
    if languages or scripts & {"cyrillic", "greek"}:
        low = _GROUPS.sub(lambda match: match[0].replace(".", "").replace(" ", "").replace(",", "."), low)
        low = _COMMA_POINT.sub(r"\1.\2", low)
    return apart(_clocks(_days(_months(low, "latin"))))


_NON_LATIN = {"cyrillic": 0, "greek": 1, "arabic": 2, "hebrew": 3, "devanagari": 4, "thai": 5, "hangul": 6}
"""The column of a script in the table of number words."""


def _days(low: str) -> str:
    def named(match: re.Match[str]) -> str:
        day, month = int(match[1]), int(match[2])
        return f"{match[0]} {day} {MONTHS[month - 1]} " if 1 <= day <= 31 and 1 <= month <= 12 else match[0]

    low = _YEAR_AFTER.sub(" ", _ORDINAL_DAY.sub(r"\1 ", _RANGE.sub(r"\1 \2 - ", low)))
    return _SHORT_DAY.sub(named, low)


def _exchanged(low: str, language: str) -> str:
    """Number words, months and words such as *tomorrow* of one script or Latin language exchanged."""
    patterns, meaning = _table(language)

    def english(match: re.Match[str]) -> str:
        return f" {meaning[match[1].replace(' ', '_')]} "

    for pattern in patterns:
        low = pattern.sub(english, low)
    low = _BARE_SCALE.sub(lambda match: match[0] if match[1] else f"one {match[2]}", low)
    if language == "arabic":  # five and twenty
        low = _ONES_FIRST.sub(r"\2 \1", low)
    return _months(low, language) if language in _NON_LATIN else low


@lru_cache(maxsize=64)
def _table(language: str) -> tuple[list[re.Pattern[str]], Mapping[str, str]]:
    """Patterns of a language's words, and of the stems that any ending may follow, with the English of both."""
    column = _NON_LATIN.get(language)
    meaning: dict[str, str] = {}
    stems: set[str] = set()
    if column is None:
        for place, entry in enumerate(_LATIN_NUMBERS[language].split()):
            word, _, value = entry.partition(":")
            meaning[folded(word)] = _spoken(int(value or place))
        if language == "de":
            ones = "ein zwei drei vier funf sechs sieben acht neun".split()
            tens = "zwanzig dreissig vierzig funfzig sechzig siebzig achtzig neunzig".split()
            for ten, tens_word in enumerate(tens, start=2):
                for one, ones_word in enumerate(ones, start=1):
                    meaning[f"{ones_word}und{tens_word}"] = _spoken(10 * ten + one)
        for english, words in _LATIN_RELATIVE.items():
            meaning |= dict.fromkeys(words.split(), english)
        meaning |= _names(_WEEKDAY_NAMES, WEEKDAYS, language)
    else:
        for table in (_NUMBER_WORDS, _ORDINALS):
            for line in table.strip().splitlines():
                value, _, rest = line.partition(" ")
                columns = rest.split("|")
                index = column if table is _NUMBER_WORDS else {0: 0, 1: 1, 2: 2, 4: 3}.get(column, 9)
                if index >= len(columns):
                    continue
                for word in columns[index].split():
                    meaning[folded(word)] = _spoken(int(value))
                    if table is _ORDINALS:
                        stems.add(folded(word))
        for english, words in _RELATIVE.items():
            for word in words.split():
                if language in scripts_in(word):
                    meaning[folded(word)] = english
                    stems.add(folded(word))
        meaning |= _names(_WEEKDAY_NAMES, WEEKDAYS, language)
    counters = _COUNTED.get(language)
    numbers = "|".join(re.escape(word) for word in meaning if word not in stems and counters)
    whole, open_ended = [], []
    for word in sorted(meaning, key=len, reverse=True):
        spelled = re.escape(word).replace("_", " ")
        if word in stems:
            open_ended.append(spelled)
        elif counters and meaning[word] not in WEEKDAYS:
            # Thai and Korean write the next word on: a number is one only before what is counted.
            whole.append(rf"{spelled}(?=\s*(?:{counters}|{numbers}))")
        else:
            whole.append(spelled if counters else rf"{spelled}(?!\w)")
    start = {"thai": "", "arabic": rf"(?<!\w)[{_ARABIC_PREFIXES}]?"}.get(language, r"(?<!\w)")
    ending = "" if counters else r"\w*"
    patterns = [re.compile(f"{start}({'|'.join(whole)})")]
    return patterns + ([re.compile(f"{start}({'|'.join(open_ended)}){ending}")] if open_ended else []), meaning


def _names(table: str, english: list[str], language: str) -> dict[str, str]:
    """The names of a table's rows in this script or, for a Latin language, in any Latin row."""
    script = language if language in _NON_LATIN else "latin"
    found: dict[str, str] = {}
    for line in table.strip().splitlines():
        names = [folded(name) for name in line.split()]
        if script in scripts_in(names[-1]):
            found |= dict(zip(names, english, strict=True))
    return found


def _spoken(value: int) -> str:
    """A number as English number words, so that several in a row are added up as English ones are."""
    names = {100: "hundred", 1_000: "thousand", 1_000_000: "million"}
    if value in names:
        return names[value]
    if value < 20:
        return _ONES[value]
    return _TENS[value // 10 - 2] + (f" {_ONES[value % 10]}" if value % 10 else "")


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_BARE_SCALE = re.compile(
    rf"((?:\b(?:{'|'.join(_ONES + _TENS)}|hundred|thousand)|\d)\s+)?\b(hundred|thousand|million)\b"
)
_ONES_FIRST = re.compile(rf"\b({'|'.join(_ONES[1:10])})\s+({'|'.join(_TENS)})\b")
_VALUES = {word: value for value, word in enumerate(_ONES)} | {word: 10 * i for i, word in enumerate(_TENS, start=2)}
_SPOKEN_DAY = re.compile(
    rf"\b((?:{'|'.join(_TENS)})\s+(?:{'|'.join(_ONES)})|{'|'.join(_TENS + _ONES)})\s+(?=(?:{'|'.join(MONTHS)})\b)"
)


def _months(low: str, script: str) -> str:
    """Month names exchanged, in the Latin script only beside a number."""
    pattern, meaning = _month_table(script)
    low = pattern.sub(lambda match: f"{match[1] or ''} {meaning[match[2].replace(' ', '_')]} ", low)

    def digits(match: re.Match[str]) -> str:
        value = sum(_VALUES[word] for word in match[1].split())
        return f"{value} " if value else match[0]

    return _SPOKEN_DAY.sub(digits, low)


@lru_cache(maxsize=16)
def _month_table(script: str) -> tuple[re.Pattern[str], Mapping[str, str]]:
    """A pattern of what precedes a month's name, and of the name: for Latin a number, where `script` is "" digits."""
    meaning = _names(_MONTH_NAMES, MONTHS, script or "latin")
    words = "|".join(re.escape(word).replace("_", " ") for word in sorted(meaning, key=len, reverse=True))
    if not script:
        return re.compile(rf"(\b\d{{1,2}}(?:\.|er|º)?\s+(?:de )?)({words})(?![a-z])"), meaning
    if script == "latin":
        number = rf"\b(?:\d{{1,2}}|{'|'.join(_ONES + _TENS)})(?:\.|er|º)?\s+(?:de )?"
        return re.compile(rf"({number})({words})(?![a-z])"), meaning
    if script == "thai":
        return re.compile(f"(\\d\\s*)?({words})"), meaning
    if not words:
        return re.compile("(?!)()()"), meaning
    return re.compile(rf"(\d\s*)?(?<!\w)({words})(?!\w)"), meaning


def _dates(low: str) -> str:
    def day(match: re.Match[str]) -> str:
        if not 1 <= int(match[2]) <= 12:
            return match[0]
        return f" {MONTHS[int(match[2]) - 1]} {int(match[3])} {match[1] or ''} "

    low = _DAY.sub(day, _HAN_RANGE.sub(r"\1\2\3\1", low))
    return _MONTH_ONLY.sub(
        lambda match: f" {MONTHS[int(match[2]) - 1]} {match[1]} " if 1 <= int(match[2]) <= 12 else match[0], low
    )


@lru_cache(maxsize=1)
def _han_words() -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for english, words in _RELATIVE.items():
        found |= {folded(word): english for word in words.split() if {"han", "kana"} & scripts_in(word)}
    for line in _WEEKDAY_NAMES.strip().splitlines():
        names = [folded(name) for name in line.split()]
        if "han" in scripts_in(names[0]):
            found |= dict(zip(names, WEEKDAYS, strict=True))
    return sorted(found.items(), key=lambda pair: -len(pair[0]))


def _scaled(match: re.Match[str]) -> str:
    scale = {"万": 10_000, "만": 10_000, "亿": 10**8, "억": 10**8, "千": 1_000, "천": 1_000}[match[2]]
    value = float(match[1][:30]) * scale
    return f"{value:.0f}" if value == int(value) else f"{value:.6f}"


def _place_value(numeral: str, digits: Mapping[str, int], scales: Mapping[str, int]) -> int:
    """The value of digits and scales in a row, or of digits alone (二〇二五)."""
    if not any(char in scales for char in numeral):
        return int("".join(str(digits[char]) for char in numeral)[:300])
    total = section = digit = 0
    for char in numeral[:60]:
        scale = scales.get(char)
        if scale is None:
            digit = digits.get(char, 0)
        elif scale < 10_000:
            section, digit = section + (digit or 1) * scale, 0
        else:
            total, section, digit = total + (section + digit or 1) * scale, 0, 0
    return total + section + digit


def _clocks(low: str) -> str:
    """Clock times as `3:30 pm`, beside the hour's word or one of the half days."""
    low = _SPOKEN_HALF.sub(lambda match: f"{match[1]} {_VALUES[match[2]]}", " ".join(low.split()))
    low = _spoken_hour_pattern().sub(lambda match: str(_VALUES[match[1]]), low)
    low = _HALF_TO.sub(lambda match: f"{(int(match[1]) - 2) % 12 + 1}:30", low)
    return _clock_pattern().sub(_clock, low)


_HALF_TO = re.compile(r"\b(?:halb|half) (\d{1,2})\b")
_SPOKEN_HALF = re.compile(rf"\b(halb|half) ({'|'.join(_ONES[1:13])})\b")


@lru_cache(maxsize=1)
def _spoken_hour_pattern() -> re.Pattern[str]:
    after = "|".join(_half_day_words(name) for name in ("am2", "pm2"))
    return re.compile(rf"\b({'|'.join(_ONES[1:13])})(?=\s*{_HOUR}|\s+(?:le |την? )?(?:{after}))")


def _half_day_words(name: str) -> str:
    return "|".join(re.escape(folded(word)).replace("_", " ") for word in _HALF_DAYS[name].split())


@lru_cache(maxsize=1)
def _clock_pattern() -> re.Pattern[str]:
    halves = {name: f"(?P<{name}>{_half_day_words(name)})" for name in _HALF_DAYS}
    return re.compile(
        rf"(?:(?:{halves['am1']}|{halves['pm1']})[\sのに]{{0,3}})?(?<![\d.])(?P<hour>\d{{1,2}})(?!\d)"
        rf"(?:\s?(?::|\.(?=\d\d(?!\d))|(?P<unit>{_HOUR}))"
        rf"\s?(?:(?P<minute>\d{{2}})(?![\d:]|\.\d)(?:\s?[分분])?|(?P<half>半|반|половин))?)?(?:\s?(?P<unit2>{_HOUR}))?"
        rf"(?:\s{{0,2}}(?:le |την? |в )?(?:{halves['am2']}|{halves['pm2']}))?"
    )


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), "30" if match["half"] else match["minute"]
    morning, late = match["am1"] or match["am2"], match["pm1"] or match["pm2"]
    if hour > 24 or not (morning or late or match["unit"] or match["unit2"]):
        return match[0]
    if "ทุ่ม" in (match["pm2"] or ""):
        hour, late = hour + 18, ""
    half = " am" if morning else " pm" if late and hour <= 12 else ""
    return f" {hour}:{minute or '00'}{half} "
