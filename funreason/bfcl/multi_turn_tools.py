"""The functions of BFCL's eight multi-turn classes, by name: data that offers them is the benchmark's own.

The leaderboard's 800 multi-turn entries offer 128 functions of eight simulated systems, and nothing else. A model that
was trained on tasks with these functions has seen the test, whatever the queries were. Single names (`ls`, `add`) are
everyone's, so a tool list counts as a class's from `LEAST` of its names on, or from one that names the class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from funreason.calls.names import original_tools
from funreason.types import Task

LEAST = 5
"""A calculator has four of MathAPI's names (`add`, `subtract`, `multiply`, `divide`)."""
FUNCTIONS = {
    "GorillaFileSystem": "cat cd cp diff du echo find grep ls mkdir mv pwd rm rmdir sort tail touch wc",
    "MathAPI": "absolute_value add divide imperial_si_conversion logarithm max_value mean min_value multiply "
    "percentage power round_number si_unit_conversion square_root standard_deviation subtract sum_values",
    "MessageAPI": "add_contact delete_message get_message_stats get_user_id list_users message_get_login_status "
    "message_login search_messages send_message view_messages_sent",
    "TwitterAPI": "authenticate_twitter comment follow_user get_tweet get_tweet_comments get_user_stats "
    "get_user_tweets list_all_following mention post_tweet posting_get_login_status retweet search_tweets "
    "unfollow_user",
    "TicketAPI": "close_ticket create_ticket edit_ticket get_ticket get_user_tickets logout resolve_ticket "
    "ticket_get_login_status ticket_login",
    "TradingBot": "add_to_watchlist cancel_order filter_stocks_by_price fund_account get_account_info "
    "get_available_stocks get_current_time get_order_details get_order_history get_stock_info get_symbol_by_name "
    "get_transaction_history get_watchlist notify_price_change place_order remove_stock_from_watchlist "
    "trading_get_login_status trading_login trading_logout withdraw_funds",
    "TravelAPI": "authenticate_travel book_flight cancel_booking compute_exchange_rate contact_customer_support "
    "get_all_credit_cards get_booking_history get_budget_fiscal_year get_credit_card_balance get_flight_cost "
    "get_nearest_airport_by_city list_all_airports purchase_insurance register_credit_card retrieve_invoice "
    "set_budget_limit travel_get_login_status verify_traveler_information",
    "VehicleControlAPI": "activateParkingBrake adjustClimateControl check_tire_pressure displayCarStatus display_log "
    "estimate_distance estimate_drive_feasibility_by_mileage fillFuelTank find_nearest_tire_shop gallon_to_liter "
    "get_current_speed get_outside_temperature_from_google get_outside_temperature_from_weather_com "
    "get_zipcode_based_on_city liter_to_gallon lockDoors pressBrakePedal releaseBrakePedal setCruiseControl "
    "setHeadlights set_navigation startEngine",
}
"""By class, its functions (BFCL v4, `multi_turn_func_doc`)."""
OTHER_NAMES = {"PostingAPI": "TwitterAPI", "TravelBooking": "TravelAPI", "VehicleControl": "VehicleControlAPI"}
"""What the benchmark calls three of the classes elsewhere."""


class MultiTurnTools(NamedTuple):
    """Offered functions that are those of one class of the benchmark, under their offered names."""

    of: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.names[:LEAST]) + (f" and {len(self.names) - LEAST} more" * (len(self.names) > LEAST))
        return f"{shown}: functions of BFCL's multi-turn class {self.of}"


def multi_turn_tools(names: Iterable[str]) -> MultiTurnTools | None:
    """The class whose functions are among the tools' `names`, the one with the most of them; None where there is none.

    Spellings that differ in case and punctuation are one (`post_tweet`, `postTweet`); `TwitterAPI.post_tweet` names
    its class.
    """
    plain: dict[str, list[str]] = {}
    named: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        folded = _fold(name)
        if folded in _CLASS_OF:
            plain.setdefault(_CLASS_OF[folded], []).append(name)
        elif folded in _NAMED:
            named.setdefault(_NAMED[folded], []).append(name)
    found = [
        MultiTurnTools(of, (*named.get(of, ()), *plain.get(of, ())))
        for of in FUNCTIONS
        if of in named or len(plain.get(of, ())) >= LEAST
    ]
    return max(found, key=lambda tools: len(tools.names), default=None)


def offered_names(task: Task) -> list[str]:
    """The names of a task's tools, as their source wrote them."""
    return [str(tool["name"]) for tool in original_tools(task.tools, task.names)]


def _fold(name: str) -> str:
    return re.sub(r"[\W_]+", "", name[:200]).casefold()


_CLASS_OF = {_fold(name): of for of, names in FUNCTIONS.items() for name in names.split()}
_NAMED = {
    _fold(prefix + name): of
    for of, names in FUNCTIONS.items()
    for prefix in (of, *(other for other, known in OTHER_NAMES.items() if known == of))
    for name in names.split()
}
