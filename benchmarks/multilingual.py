"""A multilingual set for stages 2 and 3: requests in eleven languages, with calls and thinking of which half are wrong.

    python benchmarks/multilingual.py > set.jsonl

Every item is made from the templates below with a fixed seed. An item of stage 2 is wrong when one value of its call
was replaced by another of the same kind (a place, a person, a number, a date, a time, a subject, an id) that the
request does not hold. An item of stage 3 is wrong when its thinking is about such another value. Right items name their
values as people write them: with case endings, particles and articles, without blanks, in native digits, in words.

The first column of a line is the value of the call, the others are forms that a template picks by number. The templates
were written before the rules that they measure; each template belongs to one of two halves, `dev` and `held-out`, and
only `dev` was looked at while the rules were written.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from funreason.calls.render import render_calls
from funreason.calls.tools import normalise_tools
from funreason.types import Call, Sample, Task

SEED = 20
PER_LANGUAGE = 96
"""Items of a language: half of them of stage 2, half of stage 3; of each half wrong; of each of these half held out."""

TOOLS = normalise_tools(
    [
        {
            "name": "get_weather",
            "description": "Weather forecast for a city on a day.",
            "parameters": {
                "city": {"type": "string", "description": "City"},
                "date": {"type": "string", "description": "Day as YYYY-MM-DD", "required": False},
            },
        },
        {
            "name": "find_route",
            "description": "The fastest route between two cities.",
            "parameters": {
                "start": {"type": "string", "description": "City to start in"},
                "end": {"type": "string", "description": "City to end in"},
            },
        },
        {
            "name": "send_mail",
            "description": "Sends an e-mail.",
            "parameters": {
                "to": {"type": "string", "description": "Full name of the person"},
                "subject": {"type": "string", "description": "Subject line"},
            },
        },
        {
            "name": "book_table",
            "description": "Books a table in a restaurant.",
            "parameters": {
                "city": {"type": "string", "description": "City"},
                "time": {"type": "string", "description": "Time of day as HH:MM"},
                "guests": {"type": "integer", "description": "How many people"},
            },
        },
        {
            "name": "track_parcel",
            "description": "Where a parcel is.",
            "parameters": {"parcel": {"type": "string", "description": "Id of the parcel"}},
        },
        {
            "name": "show_message",
            "description": "Shows a message by its number.",
            "parameters": {"message": {"type": "integer", "description": "Number of the message"}},
        },
    ]
)
PARAMETERS = {
    "get_weather": {"city": "place", "date": "date"},
    "find_route": {"start": "place", "end": "place"},
    "send_mail": {"to": "person", "subject": "topic"},
    "book_table": {"city": "place", "time": "time", "guests": "number"},
    "track_parcel": {"parcel": "id"},
    "show_message": {"message": "long"},
}
"""The kind of each parameter's value."""

LANGUAGES: dict[str, dict[str, Any]] = {}
"""By language: `digits`, the values of each kind, and per tool two request and two thinking templates."""

LANGUAGES["zh"] = {
    "digits": "0123456789",
    "place": ["海口", "长春", "呼和浩特", "乌鲁木齐", "苏州", "昆明", "厦门", "齐齐哈尔"],
    "person": ["王伟", "李娜", "欧阳建国", "陈晓东", "赵敏", "司马懿"],
    "topic": ["预算", "年度总结", "招聘计划", "客户投诉", "搬家通知", "体检"],
    "date": [
        "2025-05-12 | 2025年5月12日 | 5月12日",
        "2025-11-03 | 2025年11月3日 | 十一月三号",
        "2026-02-20 | 2026年2月20日 | 2月20号",
    ],
    "time": ["15:00 | 下午三点", "19:30 | 晚上七点半", "12:15 | 12:15", "08:00 | 早上8点"],
    "number": ["3 | 三", "12 | 十二", "2 | 两", "25 | 25", "8 | ８"],
    "get_weather": ["请帮我查一下{city}{date.2}的天气怎么样？", "{date.1}{city}会下雨吗？"],
    "find_route": ["我想从{start}开车去{end}，哪条路最快？", "{start}到{end}怎么走最省时间"],
    "send_mail": ["给{to}发一封邮件，主题写{subject}。", "麻烦发个邮件给{to}，说的是{subject}的事，谢谢！"],
    "book_table": [
        "帮我在{city}订一张{time.1}的桌子，一共{guests.1}个人。",
        "{guests.1}位，{time.1}，{city}的餐厅有位子吗？请预订。",
    ],
    "track_parcel": ["我的包裹{parcel}到哪儿了？", "查询快递单号{parcel}的物流信息"],
    "show_message": ["打开编号为{message}的消息。", "请显示第{message}号消息"],
    "thinking": {
        "get_weather": [
            "用户想知道{city}在{date.1}的天气，应该用 get_weather。",
            "要查{date.1}的天气，地点是{city}，所以调用get_weather。",
        ],
        "find_route": [
            "用户要从{start}到{end}，用 find_route 查路线。",
            "出发地是{start}，目的地是{end}，调用find_route。",
        ],
        "send_mail": [
            "需要给{to}发邮件，主题是{subject}，使用 send_mail。",
            "收件人{to}，主题“{subject}”，调用send_mail即可。",
        ],
        "book_table": [
            "在{city}订位，时间{time.1}，{guests.1}个人，用 book_table。",
            "用户要{guests.1}人的桌子，{time.1}，城市为{city}：book_table。",
        ],
        "track_parcel": ["用户询问包裹{parcel}，用 track_parcel。", "单号是{parcel}，调用track_parcel查询。"],
        "show_message": ["要看消息{message}，用 show_message。", "消息编号{message}，调用show_message。"],
    },
}
LANGUAGES["ja"] = {
    "digits": "0123456789",
    "place": ["札幌", "神戸", "さいたま", "鹿児島", "京都", "ロンドン", "シドニー", "長野"],
    "person": ["佐藤健", "鈴木さくら", "高橋", "渡辺美咲", "ジョン", "小林誠"],
    "topic": ["会議の日程", "見積書", "退職のあいさつ", "新商品", "忘年会", "出張報告"],
    "date": [
        "2025-05-12 | 2025年5月12日 | 5月12日",
        "2025-11-03 | 2025年11月3日 | 十一月三日",
        "2026-02-20 | 2026年2月20日 | ２月２０日",
    ],
    "time": ["15:00 | 午後3時", "19:30 | 夜の7時半", "12:15 | 12時15分", "08:00 | 午前八時"],
    "number": ["3 | 三", "12 | １２", "2 | 二", "25 | 25", "8 | 八"],
    "get_weather": ["{date.2}の{city}の天気を教えてください。", "{city}は{date.1}に雨が降りますか？"],
    "find_route": ["{start}から{end}までの一番速いルートは？", "{end}へ行きたいです。{start}から出発します。"],
    "send_mail": [
        "{to}さんに「{subject}」という件名でメールを送って。",
        "{subject}について{to}様へメールをお願いします。",
    ],
    "book_table": [
        "{city}で{time.1}から{guests.1}名でレストランを予約したい。",
        "{guests.1}人で{city}のお店を{time.1}に予約してください",
    ],
    "track_parcel": ["荷物{parcel}は今どこですか？", "追跡番号{parcel}の配送状況を知りたい"],
    "show_message": ["メッセージ{message}番を表示して。", "番号{message}のメッセージを開いてください。"],
    "thinking": {
        "get_weather": [
            "ユーザーは{city}の{date.1}の天気を知りたいので、get_weatherを使う。",
            "{date.1}、場所は{city}。get_weather が適切。",
        ],
        "find_route": [
            "{start}から{end}への経路なので find_route を呼ぶ。",
            "出発は{start}、到着は{end}。find_routeで調べる。",
        ],
        "send_mail": [
            "{to}さんに{subject}のメールを送る必要がある。send_mail を使う。",
            "宛先は{to}、件名は{subject}。send_mailを呼び出す。",
        ],
        "book_table": [
            "{city}、{time.1}、{guests.1}名なので book_table。",
            "{guests.1}人分を{city}で{time.1}に予約する。book_tableを使う。",
        ],
        "track_parcel": ["荷物番号は{parcel}なので track_parcel。", "{parcel}を追跡するには track_parcel を使う。"],
        "show_message": ["メッセージ{message}を見たいので show_message。", "番号は{message}。show_messageを呼ぶ。"],
    },
}
LANGUAGES["ko"] = {
    "digits": "0123456789",
    "place": [
        "부산 | 부산",
        "대전 | 대전",
        "제주 | 제주",
        "청주 | 청주",
        "목포 | 목포",
        "시드니 | 시드니",
        "서울 | 서울",
        "상하이 | 상하이",
    ],
    "person": ["김민수", "박지영", "이서준", "최유진", "정하늘", "남궁민"],
    "topic": ["예산", "회의록", "채용 공고", "휴가 신청", "고객 불만", "이사 안내"],
    "date": [
        "2025-05-12 | 2025년 5월 12일 | 5월 12일",
        "2025-11-03 | 2025년 11월 3일 | 11월 3일",
        "2026-02-20 | 2026년 2월 20일 | 2월 20일",
    ],
    "time": ["15:00 | 오후 3시", "19:30 | 저녁 7시 반", "12:15 | 12시 15분", "08:00 | 오전 여덟 시"],
    "number": ["3 | 세 ", "12 | 12", "2 | 두 ", "25 | 25", "8 | 여덟 "],
    "get_weather": ["{date.2}에 {city}에서 비가 올까요?", "{city}의 {date.1} 날씨를 알려 주세요."],
    "find_route": ["{start}에서 {end}까지 가는 가장 빠른 길이 뭐야?", "{end}로 가려고 합니다. {start}에서 출발해요."],
    "send_mail": ["{to}씨에게 {subject}에 대해 메일을 보내 주세요.", "{to}한테 '{subject}' 제목으로 이메일 보내줘"],
    "book_table": [
        "{city}에서 {time.1}에 {guests.1}명 자리 예약해 줘.",
        "{guests.1}명이서 {time.1}에 {city}의 식당을 예약하고 싶어요.",
    ],
    "track_parcel": ["택배 {parcel}은 지금 어디에 있나요?", "운송장 번호 {parcel}를 조회해 주세요"],
    "show_message": ["메시지 {message}번을 보여줘.", "{message}번 메시지를 열어 주세요."],
    "thinking": {
        "get_weather": [
            "사용자는 {city}의 {date.1} 날씨가 궁금하므로 get_weather를 쓴다.",
            "{date.1}에 {city}는 어떤지 get_weather 로 확인한다.",
        ],
        "find_route": [
            "{start}에서 {end}까지의 경로이므로 find_route를 사용한다.",
            "출발지는 {start}이고 도착지는 {end}이다. find_route 호출.",
        ],
        "send_mail": [
            "{to}에게 {subject}에 관한 메일을 보내야 하므로 send_mail을 쓴다.",
            "받는 사람은 {to}, 제목은 {subject}. send_mail 사용.",
        ],
        "book_table": [
            "{city}에서 {time.1}에 {guests.1}명이므로 book_table.",
            "{guests.1}명, {time.1}, 도시는 {city}: book_table을 호출한다.",
        ],
        "track_parcel": ["{parcel}을 조회하려면 track_parcel이 필요하다.", "송장은 {parcel}이다. track_parcel 사용."],
        "show_message": ["메시지 {message}를 보려면 show_message를 쓴다.", "번호는 {message}이므로 show_message."],
    },
}
LANGUAGES["hi"] = {
    "digits": "०१२३४५६७८९",
    "place": ["दिल्ली", "मुंबई | मुम्बई", "पटना | पटना", "कोलकाता", "जयपुर", "हैदराबाद", "पुणे", "लखनऊ"],
    "person": ["राहुल शर्मा", "प्रिया सिंह", "अनिल गुप्ता", "नेहा वर्मा", "विकास यादव", "सुनीता देवी"],
    "topic": ["बजट", "छुट्टी का आवेदन", "नई योजना", "वेतन", "बैठक का समय", "शिकायत"],
    "date": [
        "2025-05-12 | 12 मई 2025 | १२ मई",
        "2025-11-03 | 3 नवंबर 2025 | 3 नवंबर",
        "2026-02-20 | २० फरवरी २०२६ | 20 फ़रवरी",
    ],
    "time": ["15:00 | दोपहर 3 बजे", "19:30 | शाम 7:30 बजे", "12:15 | 12:15", "08:00 | सुबह आठ बजे"],
    "number": ["3 | तीन", "12 | बारह", "2 | दो", "25 | २५", "8 | 8"],
    "get_weather": ["{city.-1} में {date.2} को मौसम कैसा रहेगा?", "क्या {date.1} को {city.-1} में बारिश होगी?"],
    "find_route": [
        "{start.-1} से {end.-1} जाने का सबसे तेज़ रास्ता बताओ।",
        "मुझे {end.-1} जाना है, मैं {start.-1} में हूँ। रास्ता दिखाइए।",
    ],
    "send_mail": ["{to} को {subject} के बारे में ईमेल भेजो।", 'कृपया {to} जी को "{subject}" विषय पर मेल भेज दें।'],
    "book_table": [
        "{city.-1} में {time.1} {guests.1} लोगों के लिए टेबल बुक करो।",
        "{guests.1} लोग हैं, {city.-1} के किसी रेस्तराँ में {time.1} की बुकिंग चाहिए।",
    ],
    "track_parcel": ["मेरा पार्सल {parcel} कहाँ है?", "पार्सल नंबर {parcel} की स्थिति बताइए"],
    "show_message": ["संदेश संख्या {message} दिखाओ।", "मुझे {message} नंबर का संदेश देखना है।"],
    "thinking": {
        "get_weather": [
            "उपयोगकर्ता {city.-1} का {date.1} का मौसम जानना चाहता है, इसलिए get_weather।",
            "{date.1} को {city.-1} में मौसम: get_weather सही है।",
        ],
        "find_route": [
            "{start.-1} से {end.-1} तक का रास्ता चाहिए, find_route का उपयोग करूँगा।",
            "शुरुआत {start.-1} में, अंत {end.-1} में, तो find_route।",
        ],
        "send_mail": [
            "{to} को {subject} पर मेल भेजना है, send_mail ठीक है।",
            "प्राप्तकर्ता {to} और विषय {subject} है: send_mail।",
        ],
        "book_table": [
            "{city.-1} में {time.1} {guests.1} लोगों की जगह: book_table।",
            "{guests.1} लोग, समय {time.1}, शहर {city.-1}, इसलिए book_table।",
        ],
        "track_parcel": ["पार्सल {parcel} के लिए track_parcel।", "{parcel} का पता लगाना है, track_parcel से।"],
        "show_message": ["संदेश {message} देखना है: show_message।", "नंबर {message} है, show_message बुलाऊँगा।"],
    },
}
LANGUAGES["ar"] = {
    "digits": "٠١٢٣٤٥٦٧٨٩",
    "place": [
        "الرباط | في الرباط | للرباط | من الرباط",
        "دبي | في دبي | لدبي | من دبي",
        "القاهرة | بالقاهرة | للقاهرة | من القاهرة",
        "عمان | في عمّان | لعمان | من عمان",
        "مكة | بمكة | لمكة | من مكة",
        "بغداد | في بغداد | لبغداد | من بغداد",
        "الإسكندرية | في الاسكندرية | للإسكندرية | من الإسكندرية",
        "تونس | بتونس | لتونس | من تونس",
    ],
    "person": ["أحمد منصور", "ليلى حسن", "خالد العتيبي", "فاطمة الزهراء", "يوسف", "سارة"],
    "topic": [
        "الميزانية | بالميزانية",
        "موعد الاجتماع | بموعد الاجتماع",
        "الإجازة | بالإجازة",
        "العقد الجديد | بالعقد الجديد",
        "الشكوى | بالشكوى",
        "الرواتب | بالرواتب",
    ],
    "date": [
        "2025-05-12 | 12 مايو 2025 | ١٢ مايو",
        "2025-11-03 | 3 نوفمبر 2025 | 3 نوفمبر",
        "2026-02-20 | ٢٠ فبراير ٢٠٢٦ | 20 فبراير",
    ],
    "time": [
        "15:00 | الساعة 3 مساءً",
        "19:30 | الساعة ٧:٣٠ مساء",
        "12:15 | الساعة 12:15",
        "08:00 | الساعة الثامنة صباحًا",
    ],
    "number": ["3 | ثلاثة", "12 | اثني عشر", "4 | أربعة", "25 | ٢٥", "8 | ثمانية"],
    "get_weather": ["كيف سيكون الطقس {city.1} يوم {date.2}؟", "هل ستمطر {city.1} في {date.1}؟"],
    "find_route": ["ما هو أسرع طريق {start.3} إلى {end.0}؟", "أريد السفر {start.3} متجهًا {end.2} بالسيارة."],
    "send_mail": ["أرسل بريدًا إلى {to} بعنوان {subject.0}.", "من فضلك اكتب رسالة ل{to} تتعلق {subject.1}"],
    "book_table": [
        "احجز طاولة {city.1} {time.1} لعدد {guests.1} أشخاص.",
        "نحن {guests.1} ضيوف ونريد مطعمًا {city.1} {time.1}.",
    ],
    "track_parcel": ["أين وصلت الشحنة {parcel}؟", "تتبع الطرد رقم {parcel} من فضلك"],
    "show_message": ["اعرض الرسالة رقم {message}.", "أريد رؤية الرسالة ذات الرقم {message}."],
    "thinking": {
        "get_weather": [
            "يريد المستخدم معرفة الطقس {city.1} بتاريخ {date.1}، لذلك get_weather.",
            "التاريخ {date.1} والمدينة {city.0}، فأستخدم get_weather.",
        ],
        "find_route": [
            "المطلوب طريق {start.3} إلى {end.0} فأستدعي find_route.",
            "البداية {start.1} والنهاية {end.1}: find_route.",
        ],
        "send_mail": [
            "يجب إرسال بريد إلى {to} بعنوان {subject.0} باستخدام send_mail.",
            "المستلم {to} والرسالة تتعلق {subject.1}، إذن send_mail.",
        ],
        "book_table": [
            "طاولة {city.1} {time.1} لـ {guests.1} أشخاص: book_table.",
            "عدد الضيوف {guests.1} والموعد {time.1} والمدينة {city.0}، book_table.",
        ],
        "track_parcel": ["رقم الشحنة {parcel}، لذا track_parcel.", "لمعرفة مكان {parcel} أستخدم track_parcel."],
        "show_message": ["الرسالة {message} مطلوبة، show_message.", "أستدعي show_message للرقم {message}."],
    },
}
LANGUAGES["th"] = {
    "digits": "๐๑๒๓๔๕๖๗๘๙",
    "place": ["เชียงใหม่", "ภูเก็ต", "ขอนแก่น", "กระบี่", "อยุธยา", "พัทยา", "โตเกียว", "น่าน"],
    "person": ["สมชาย", "มานี ใจดี", "วิชัย", "กมลชนก", "ปิติ", "อารี รักไทย"],
    "topic": ["งบประมาณ", "ประชุมประจำเดือน", "ใบลา", "ย้ายสำนักงาน", "ร้องเรียน", "สัญญาเช่า"],
    "date": [
        "2025-05-12 | 12 พฤษภาคม 2025 | วันที่ 12 พฤษภาคม",
        "2025-11-03 | 3 พฤศจิกายน 2568 | 3 พฤศจิกายน",
        "2026-02-20 | 20 กุมภาพันธ์ 2026 | ๒๐ กุมภาพันธ์",
    ],
    "time": ["15:00 | บ่าย 3 โมง", "19:30 | 19.30 น.", "12:15 | 12:15 น.", "08:00 | 8 โมงเช้า"],
    "number": ["3 | สาม", "12 | สิบสอง", "2 | สอง", "25 | ๒๕", "8 | 8"],
    "get_weather": ["อากาศที่{city}{date.2}เป็นอย่างไร", "{date.1} ฝนจะตกที่{city}ไหมครับ"],
    "find_route": ["ขับรถจาก{start}ไป{end}ทางไหนเร็วที่สุด", "อยากไป{end}โดยออกเดินทางจาก{start}ค่ะ"],
    "send_mail": ["ส่งอีเมลถึงคุณ{to} หัวข้อ {subject}", "ช่วยเขียนอีเมลเรื่อง{subject}ให้{to}หน่อย"],
    "book_table": ["จองโต๊ะที่{city} เวลา{time.1} สำหรับ{guests.1}คน", "มี{guests.1}ท่าน อยากได้ร้านอาหารใน{city}ตอน{time.1}"],
    "track_parcel": ["พัสดุ{parcel}ถึงไหนแล้ว", "ตรวจสอบพัสดุหมายเลข {parcel} ให้หน่อย"],
    "show_message": ["เปิดข้อความหมายเลข {message}", "ขอดูข้อความที่{message}หน่อย"],
    "thinking": {
        "get_weather": ["ผู้ใช้อยากรู้อากาศที่{city}ใน{date.1} จึงใช้ get_weather", "{date.1}และเมือง{city} ควรเรียกget_weather"],
        "find_route": ["ต้องหาทางจาก{start}ไป{end} ใช้ find_route", "เริ่มที่{start}จบที่{end} เรียก find_route"],
        "send_mail": ["ต้องส่งอีเมลหา{to}เรื่อง{subject} ด้วย send_mail", "ผู้รับคือ{to} หัวข้อคือ{subject} ใช้send_mail"],
        "book_table": [
            "จองที่{city}เวลา{time.1}สำหรับ{guests.1}คน ใช้ book_table",
            "{guests.1}คน {time.1} เมือง{city} จึงเรียก book_table",
        ],
        "track_parcel": ["พัสดุคือ{parcel} ใช้ track_parcel", "ต้องตามพัสดุ {parcel} ด้วย track_parcel"],
        "show_message": ["ข้อความหมายเลข {message} ใช้ show_message", "เรียก show_message สำหรับข้อความ {message}"],
    },
}
LANGUAGES["ru"] = {
    "digits": "0123456789",
    "place": [
        "Казань | в Казани | в Казань | из Казани",
        "Москва | в Москве | в Москву | из Москвы",
        "Тверь | в Твери | в Тверь | из Твери",
        "Рига | в Риге | в Ригу | из Риги",
        "Нижний Новгород | в Нижнем Новгороде | в Нижний Новгород | из Нижнего Новгорода",
        "Сочи | в Сочи | в Сочи | из Сочи",
        "Омск | в Омске | в Омск | из Омска",
        "Орёл | в Орле | в Орел | из Орла",
    ],
    "person": [
        "Ольга Смирнова | Ольге Смирновой",
        "Павел Волков | Павлу Волкову",
        "Иван | Ивану",
        "Наталья Соколова | Наталье Соколовой",
        "Дмитрий Кузнецов | Дмитрию Кузнецову",
        "Юлия | Юлии",
    ],
    "topic": [
        "бюджет | про бюджет",
        "отпуск | насчёт отпуска",
        "жалоба клиента | про жалобу клиента",
        "новый договор | о новом договоре",
        "переезд офиса | о переезде офиса",
        "зарплата | насчёт зарплаты",
    ],
    "date": [
        "2025-05-12 | 12 мая 2025 года | 12 мая",
        "2025-11-03 | 3 ноября 2025 г. | третьего ноября",
        "2026-02-20 | 20 февраля 2026 | 20-го февраля",
    ],
    "time": ["15:00 | в три часа дня", "19:30 | в 19:30", "12:15 | в 12.15", "08:00 | в 8 утра"],
    "number": ["3 | троих", "12 | двенадцать", "2 | двух", "25 | 25", "8 | восемь"],
    "get_weather": ["Какая погода будет {city.1} {date.2}?", "Скажи, пойдёт ли {date.1} дождь {city.1}."],
    "find_route": ["Как быстрее всего доехать {start.3} {end.2}?", "Еду {end.2}, выезжаю {start.3}, построй маршрут"],
    "send_mail": ["Отправь письмо {to.1} {subject.1}.", "Напиши {to.1} с темой «{subject.0}», пожалуйста."],
    "book_table": [
        "Забронируй столик {city.1} {time.1}, нас {guests.1}.",
        "Нужен ресторан {city.1}, {time.1}, {guests.1} человек.",
    ],
    "track_parcel": ["Где моя посылка {parcel}?", "Отследи отправление с номером {parcel}, пожалуйста"],
    "show_message": ["Покажи сообщение номер {message}.", "Открой сообщение №{message}"],
    "thinking": {
        "get_weather": [
            "Пользователь хочет знать погоду {city.1} на {date.1}, значит get_weather.",
            "Дата: {date.1}; город: {city.0}. Подходит get_weather.",
        ],
        "find_route": [
            "Нужен маршрут {start.3} {end.2}, вызываю find_route.",
            "Начало {start.1}, конец {end.1}: find_route.",
        ],
        "send_mail": [
            "Надо написать {to.1} {subject.1} через send_mail.",
            "Получатель: {to.0}, тема: {subject.0}, поэтому send_mail.",
        ],
        "book_table": [
            "Столик {city.1} {time.1}, {guests.1} человек: book_table.",
            "Бронь на {guests.1}, {time.1}, город {city.0}, то есть book_table.",
        ],
        "track_parcel": ["Посылка {parcel}: нужен track_parcel.", "Чтобы найти {parcel}, беру track_parcel."],
        "show_message": ["Сообщение {message} показывает show_message.", "Вызываю show_message для номера {message}."],
    },
}
LANGUAGES["el"] = {
    "digits": "0123456789",
    "place": [
        "Αθήνα | στην Αθήνα | της Αθήνας",
        "Πάτρα | στην Πάτρα | της Πάτρας",
        "Βόλος | στον Βόλο | του Βόλου",
        "Χανιά | στα Χανιά | των Χανίων",
        "Ηράκλειο | στο Ηράκλειο | του Ηρακλείου",
        "Λάρισα | στη Λάρισα | της Λάρισας",
        "Θεσσαλονίκη | στη Θεσσαλονίκη | της Θεσσαλονίκης",
        "Ρόδος | στη Ρόδο | της Ρόδου",
    ],
    "person": [
        "Γιώργος Παπαδόπουλος | στον Γιώργο Παπαδόπουλο",
        "Μαρία Νικολάου | στη Μαρία Νικολάου",
        "Νίκος | στον Νίκο",
        "Ελένη Γεωργίου | στην Ελένη Γεωργίου",
        "Κώστας Δημητρίου | στον Κώστα Δημητρίου",
        "Σοφία | στη Σοφία",
    ],
    "topic": [
        "προϋπολογισμός | για τον προϋπολογισμό",
        "άδεια | για την άδεια",
        "νέο συμβόλαιο | για το νέο συμβόλαιο",
        "παράπονα πελατών | για τα παράπονα πελατών",
        "μετακόμιση | για τη μετακόμιση",
        "μισθός | για τον μισθό",
    ],
    "date": [
        "2025-05-12 | 12 Μαΐου 2025 | 12 Μαΐου",
        "2025-11-03 | 3 Νοεμβρίου 2025 | 3 Νοεμβρίου",
        "2026-02-20 | 20/2/2026 | 20 Φεβρουαρίου",
    ],
    "time": ["15:00 | στις 3 μ.μ.", "19:30 | στις 19:30", "12:15 | στις 12:15", "08:00 | στις 8 το πρωί"],
    "number": ["3 | τρία", "12 | δώδεκα", "2 | δύο", "25 | 25", "8 | οκτώ"],
    "get_weather": ["Τι καιρό θα κάνει {city.1} στις {date.2};", "Θα βρέξει {city.1} στις {date.1};"],
    "find_route": [
        "Ποιος είναι ο πιο γρήγορος δρόμος από το κέντρο {start.2} ως το κέντρο {end.2};",
        "Ξεκινάω από το λιμάνι {start.2} και πάω {end.1}, πώς πάω;",
    ],
    "send_mail": ["Στείλε email {to.1} {subject.1}.", "Γράψε {to.1} με θέμα «{subject.0}», σε παρακαλώ."],
    "book_table": [
        "Κλείσε τραπέζι {city.1} {time.1} για {guests.1} άτομα.",
        "Είμαστε {guests.1} και θέλουμε εστιατόριο {city.1} {time.1}.",
    ],
    "track_parcel": ["Πού βρίσκεται το δέμα {parcel};", "Θέλω να δω την αποστολή με αριθμό {parcel}"],
    "show_message": ["Δείξε το μήνυμα {message}.", "Άνοιξε το μήνυμα με αριθμό {message}"],
    "thinking": {
        "get_weather": [
            "Ο χρήστης θέλει τον καιρό {city.1} στις {date.1}, άρα get_weather.",
            "Ημερομηνία {date.1}, πόλη {city.0}: get_weather.",
        ],
        "find_route": [
            "Χρειάζεται διαδρομή από το κέντρο {start.2} ως το κέντρο {end.2} με find_route.",
            "Αρχή {start.1}, τέλος {end.1}, οπότε find_route.",
        ],
        "send_mail": [
            "Πρέπει να στείλω μήνυμα {to.1} {subject.1} με send_mail.",
            "Παραλήπτης {to.0}, θέμα {subject.0}: send_mail.",
        ],
        "book_table": [
            "Τραπέζι {city.1} {time.1} για {guests.1} άτομα: book_table.",
            "{guests.1} άτομα, ώρα {time.1}, πόλη {city.0}, άρα book_table.",
        ],
        "track_parcel": ["Το δέμα {parcel} το βρίσκει το track_parcel.", "Για το {parcel} καλώ track_parcel."],
        "show_message": ["Το μήνυμα {message} το δείχνει το show_message.", "Καλώ show_message για το {message}."],
    },
}
LANGUAGES["tr"] = {
    "digits": "0123456789",
    "place": [
        "İstanbul | İstanbul'da | İstanbul'a | İstanbul'dan",
        "Ankara | Ankara'da | Ankara'ya | Ankara'dan",
        "Şanlıurfa | Şanlıurfa'da | Şanlıurfa'ya | Şanlıurfa'dan",
        "Muş | Muş'ta | Muş'a | Muş'tan",
        "Isparta | Isparta'da | Isparta'ya | Isparta'dan",
        "Çanakkale | Çanakkale'de | Çanakkale'ye | Çanakkale'den",
        "Rize | Rizede | Rizeye | Rizeden",
        "Van | Van'da | Van'a | Van'dan",
    ],
    "person": [
        "Ayşe Yılmaz | Ayşe Yılmaz'a",
        "Mehmet Demir | Mehmet Demir'e",
        "Elif | Elif'e",
        "Can Öztürk | Can Öztürk'e",
        "Zeynep Kaya | Zeynep Kaya'ya",
        "Ufuk | Ufuk'a",
    ],
    "topic": [
        "bütçe | bütçeyle ilgili",
        "izin talebi | izin talebiyle ilgili",
        "toplantı saati | toplantı saatiyle ilgili",
        "yeni sözleşme | yeni sözleşmeyle ilgili",
        "müşteri şikayeti | müşteri şikayetiyle ilgili",
        "maaş | maaşla ilgili",
    ],
    "date": [
        "2025-05-12 | 12 Mayıs 2025 | 12 Mayıs'ta",
        "2025-11-03 | 3 Kasım 2025 | 3 Kasım'da",
        "2026-02-20 | 20 Şubat 2026 | 20 Şubat'ta",
    ],
    "time": ["15:00 | saat 15.00'te", "19:30 | akşam 7:30'da", "12:15 | saat 12:15'te", "08:00 | sabah 8'de"],
    "number": ["3 | üç", "12 | on iki", "2 | iki", "25 | yirmi beş", "8 | 8"],
    "get_weather": ["{date.2} {city.1} hava nasıl olacak?", "{city.1} {date.1} tarihinde yağmur yağacak mı?"],
    "find_route": [
        "{start.3} {end.2} en hızlı nasıl giderim?",
        "{end.2} gitmek istiyorum, {start.3} çıkacağım. Yolu bul.",
    ],
    "send_mail": ["{to.1} {subject.1} bir e-posta gönder.", 'Lütfen {to.1} "{subject.0}" konulu bir posta yaz.'],
    "book_table": [
        "{city.1} {time.1} {guests.1} kişilik masa ayırt.",
        "{guests.1} kişiyiz, {time.1} {city.1} bir restoran istiyoruz.",
    ],
    "track_parcel": ["{parcel} numaralı kargom nerede?", "Kargo takibi: {parcel}, lütfen bak."],
    "show_message": ["{message} numaralı mesajı göster.", "Bana {message} nolu mesajı açar mısın?"],
    "thinking": {
        "get_weather": [
            "Kullanıcı {city.1} {date.1} için hava durumunu istiyor, get_weather uygun.",
            "Tarih {date.1}, şehir {city.0}; get_weather çağrılmalı.",
        ],
        "find_route": [
            "{start.3} {end.2} yol isteniyor, find_route kullanacağım.",
            "Başlangıç {start.0}, varış {end.0}: find_route.",
        ],
        "send_mail": [
            "{to.1} {subject.1} e-posta gerekiyor, send_mail.",
            "Alıcı {to.0}, konu {subject.0}, yani send_mail.",
        ],
        "book_table": [
            "{city.1} {time.1} {guests.1} kişi için book_table.",
            "{guests.1} kişi, {time.1}, şehir {city.0}: book_table.",
        ],
        "track_parcel": ["{parcel} kargosu için track_parcel.", "Kargo {parcel} track_parcel ile bulunur."],
        "show_message": ["{message} mesajı için show_message.", "show_message ile {message} açılır."],
    },
}
LANGUAGES["de"] = {
    "digits": "0123456789",
    "place": [
        "Köln | in Köln | nach Köln | von Köln",
        "München | in Muenchen | nach München | von München",
        "Mühlhausen | in Mühlhausen | nach Mühlhausen | von Mühlhausen",
        "Bad Tölz | in Bad Tölz | nach Bad Tölz | von Bad Tölz",
        "Gießen | in Giessen | nach Gießen | von Gießen",
        "Lübeck | in Lübeck | nach Lübeck | von Lübeck",
        "Ulm | in Ulm | nach Ulm | von Ulm",
        "Hof | in Hof | nach Hof | von Hof",
    ],
    "person": [
        "Jürgen Weiß | Jürgen Weiß",
        "Anna Krüger | Anna Krüger",
        "Herr Maier | Herrn Maier",
        "Sabine Vogt | Sabine Vogt",
        "Björn | Björn",
        "Frau Schäfer | Frau Schäfer",
    ],
    "topic": [
        "Urlaubsantrag | wegen des Urlaubsantrags",
        "Haushaltsplan | wegen des Haushaltsplans",
        "Kündigung | wegen der Kündigung",
        "neuer Vertrag | wegen des neuen Vertrags",
        "Umzug | wegen des Umzugs",
        "Gehälter | wegen der Gehälter",
    ],
    "date": [
        "2025-05-12 | 12. Mai 2025 | 12. Mai",
        "2025-11-03 | 3. November 2025 | 3.11.",
        "2026-02-20 | 20.02.2026 | zwanzigsten Februar",
    ],
    "time": ["15:00 | um 15 Uhr", "19:30 | um halb acht abends", "12:15 | um 12.15 Uhr", "08:00 | um acht Uhr morgens"],
    "number": ["3 | drei", "12 | zwölf", "2 | zwei", "25 | fünfundzwanzig", "8 | 8"],
    "get_weather": ["Wie wird das Wetter {city.1} am {date.2}?", "Regnet es {city.1} am {date.1}?"],
    "find_route": [
        "Wie komme ich am schnellsten {start.3} {end.2}?",
        "Ich will mit dem Auto {end.2} und starte {start.1}.",
    ],
    "send_mail": ["Schick eine Mail an {to.1} {subject.1}.", "Bitte schreib {to.1} mit dem Betreff „{subject.0}“."],
    "book_table": [
        "Reservier mir {city.1} einen Tisch {time.1} für {guests.1} Personen.",
        "Wir sind {guests.1} Leute und suchen {time.1} ein Restaurant {city.1}.",
    ],
    "track_parcel": ["Wo ist mein Paket {parcel}?", "Bitte die Sendung mit der Nummer {parcel} verfolgen"],
    "show_message": ["Zeig mir die Nachricht {message}.", "Öffne bitte die Nachricht Nummer {message}"],
    "thinking": {
        "get_weather": [
            "Der Nutzer möchte das Wetter {city.1} am {date.1} wissen, also get_weather.",
            "Der Tag ist der {date.1}, die Stadt {city.0}: get_weather passt.",
        ],
        "find_route": [
            "Gesucht ist der Weg {start.3} {end.2}, dafür nehme ich find_route.",
            "Start ist {start.0}, Ziel ist {end.0}, also find_route.",
        ],
        "send_mail": [
            "Ich muss {to.1} {subject.1} schreiben, mit send_mail.",
            "Empfänger ist {to.0}, der Betreff {subject.0}: send_mail.",
        ],
        "book_table": [
            "Ein Tisch {city.1} {time.1} für {guests.1} Personen: book_table.",
            "Es sind {guests.1} Gäste, {time.1}, Stadt {city.0}, also book_table.",
        ],
        "track_parcel": ["Das Paket {parcel} findet track_parcel.", "Für {parcel} rufe ich track_parcel auf."],
        "show_message": [
            "Die Nachricht {message} zeigt show_message.",
            "Ich rufe show_message mit der Nummer {message} auf.",
        ],
    },
}
LANGUAGES["fr"] = {
    "digits": "0123456789",
    "place": [
        "Orléans | à Orléans | d'Orléans",
        "Lyon | à Lyon | de Lyon",
        "Le Havre | au Havre | du Havre",
        "Pau | à Pau | de Pau",
        "Besançon | à Besançon | de Besançon",
        "Nîmes | à Nimes | de Nîmes",
        "Aix-en-Provence | à Aix en Provence | d'Aix-en-Provence",
        "Évry | à Évry | d'Evry",
    ],
    "person": ["Hélène Dubois", "Jean-Luc Moreau", "Élodie", "François Lefèvre", "Chloé Garnier", "Noël Petit"],
    "topic": [
        "congés | aux congés",
        "budget | au budget",
        "nouveau contrat | au nouveau contrat",
        "déménagement | au déménagement",
        "réclamation | à la réclamation",
        "réunion d'équipe | à la réunion d'équipe",
    ],
    "date": [
        "2025-05-12 | 12 mai 2025 | 12 mai",
        "2025-11-03 | 3 novembre 2025 | 3 novembre",
        "2026-02-20 | 20 février 2026 | 20/02",
    ],
    "time": ["15:00 | à 15 h", "19:30 | à 19h30", "12:15 | à 12 h 15", "08:00 | à huit heures du matin"],
    "number": ["3 | trois", "12 | douze", "2 | deux", "25 | vingt-cinq", "8 | 8"],
    "get_weather": ["Quel temps fera-t-il {city.1} le {date.2} ?", "Est-ce qu'il va pleuvoir {city.1} le {date.1} ?"],
    "find_route": [
        "Quel est le chemin le plus rapide pour aller {end.1} au départ {start.2} ?",
        "Je pars {start.2} en voiture et je vais {end.1}.",
    ],
    "send_mail": [
        "Envoie un mail à {to} relatif {subject.1}.",
        "Écris à {to} avec pour objet « {subject.0} », s'il te plaît.",
    ],
    "book_table": [
        "Réserve une table {city.1} {time.1} pour {guests.1} personnes.",
        "Nous sommes {guests.1} et cherchons un restaurant {city.1} {time.1}.",
    ],
    "track_parcel": ["Où est mon colis {parcel} ?", "Je voudrais suivre l'envoi numéro {parcel}"],
    "show_message": ["Affiche le message numéro {message}.", "Montre-moi le message {message}, s'il te plaît"],
    "thinking": {
        "get_weather": [
            "L'utilisateur veut la météo {city.1} le {date.1}, donc get_weather.",
            "La date est le {date.1} et la ville {city.0} : get_weather convient.",
        ],
        "find_route": [
            "Il faut aller {end.1} au départ {start.2}, donc find_route.",
            "Départ {start.0}, arrivée {end.0}, j'appelle find_route.",
        ],
        "send_mail": [
            "Je dois écrire à {to} un message relatif {subject.1} avec send_mail.",
            "Destinataire : {to}, objet : {subject.0}, donc send_mail.",
        ],
        "book_table": [
            "Une table {city.1} {time.1} pour {guests.1} personnes : book_table.",
            "{guests.1} convives, {time.1}, ville {city.0}, donc book_table.",
        ],
        "track_parcel": ["Le colis {parcel} se suit avec track_parcel.", "Pour {parcel}, j'appelle track_parcel."],
        "show_message": ["Le message {message} s'affiche avec show_message.", "J'appelle show_message pour {message}."],
    },
}


class Item(NamedTuple):
    """One sample, what is wrong with it (the parameter; "" for nothing), and where it belongs."""

    sample: Sample
    language: str
    stage: str
    """`query_tool` or `cot`."""
    half: str
    """`dev` or `held-out`."""
    wrong: str


def items(half: str | None = None, seed: int = SEED) -> list[Item]:
    """The set, or one half of it, always the same for a seed."""
    found = [item for language in LANGUAGES for item in _of_language(language, seed)]
    return [item for item in found if half in (None, item.half)]


def _of_language(language: str, seed: int) -> Iterator[Item]:
    data = LANGUAGES[language]
    for number in range(PER_LANGUAGE):
        rng = random.Random(f"{seed} {language} {number}")
        stage = ("query_tool", "cot")[number % 2]
        held = number // 2 % 2
        tool = list(PARAMETERS)[number // 8 % len(PARAMETERS)]
        said = _values(data, tool, rng)
        other = _values(data, tool, rng, said)
        wrong = rng.choice(sorted(PARAMETERS[tool])) if number // 4 % 2 else ""
        if tool == "get_weather" and wrong != "date" and rng.random() < 0.5:
            called = {"city": said["city"]}
        else:
            called = dict(said)
        thought = dict(said)
        if wrong:
            (called if stage == "query_tool" else thought)[wrong] = other[wrong]
        query = _filled(data[tool][held], said)
        thinking = _filled(data["thinking"][tool][held], thought)
        call = Call(tool, {name: _typed(columns[0], PARAMETERS[tool][name]) for name, columns in called.items()})
        name = f"{language}-{number:02}-{tool}"
        sample = Sample.of(name, Task.of(name, query, TOOLS), render_calls([call]), thinking)
        yield Item(sample, language, stage, ("dev", "held-out")[held], wrong)


def _values(
    data: dict[str, Any], tool: str, rng: random.Random, but: dict[str, list[str]] | None = None
) -> dict[str, list[str]]:
    """A value for each parameter, all different, and none of `but`'s."""
    taken = [columns[0] for columns in (but or {}).values()]
    found: dict[str, list[str]] = {}
    for name, kind in PARAMETERS[tool].items():
        while True:
            columns = _drawn(data, kind, rng) if kind in ("id", "long") else rng.choice(data[kind]).split(" | ")
            if columns[0] not in taken:
                break
        taken.append(columns[0])
        found[name] = columns
    return found


def _drawn(data: dict[str, Any], kind: str, rng: random.Random) -> list[str]:
    if kind == "id":
        return [f"{rng.choice('ABKRT')}{rng.choice('CDXZ')}-{rng.randrange(10_000, 99_999)}"]
    digits = str(rng.randrange(10**18, 10**19))
    native = digits.translate(str.maketrans("0123456789", data["digits"]))
    return [digits, native if rng.random() < 0.5 else digits]


def _typed(value: str, kind: str) -> Any:
    return int(value) if kind in ("number", "long") else value


def _filled(template: str, values: dict[str, list[str]]) -> str:
    """The template with its values; `{city.1}` is column 1, `{city}` the last column of those that have no number."""

    def form(match: re.Match[str]) -> str:
        columns = values[match[1]]
        return columns[min(int(match[2] or -1), len(columns) - 1)]

    return re.sub(r"\{(\w+)(?:\.(-?\d))?\}", form, template)


if __name__ == "__main__":
    for item in items():
        row = {"half": item.half, "stage": item.stage, "wrong": item.wrong, "language": item.language}
        sample = item.sample
        print(
            json.dumps(
                {**row, "id": sample.id, "query": sample.task.query, "answer": sample.answer, "cot": sample.thinking},
                ensure_ascii=False,
            )
        )
