"""Language names of gettext and OPUS as ISO 639-3 codes.

The convention is that of Tatoeba, so that corpora can be joined: where ISO 639-1 names a macrolanguage, the code is
that of its most written member (zh cmn, fa pes, lv lvs, ms zsm, sw swh, no nob), or the macrolanguage's own where
Tatoeba keeps it (ar ara, az aze, et est, ku kur, mg mlg, mn mon, ne nep, om orm, ps pus, sq sqi, uz uzb, yi yid).
"""

from __future__ import annotations

import re

__all__ = ["iso639_3"]

_PAIRS = """
aa aar ab abk ae ave af afr ak aka am amh an arg ar ara as asm av ava ay aym az aze ba bak be bel bg bul bi bis bm bam
bn ben bo bod br bre bs bos ca cat ce che ch cha co cos cr cre cs ces cu chu cv chv cy cym da dan de deu dv div dz dzo
ee ewe el ell en eng eo epo es spa et est eu eus fa pes ff ful fi fin fil tgl fj fij fo fao fr fra fy fry ga gle gd gla
gl glg gn grn gu guj gv glv ha hau he heb hi hin ho hmo hr hrv ht hat hu hun hy hye hz her ia ina id ind ie ile ig ibo
ii iii ik ipk io ido is isl it ita iu iku ja jpn jv jav ka kat kg kon ki kik kj kua kk kaz kl kal km khm kn kan ko kor
kr kau ks kas ku kur kv kom kw cor ky kir la lat lb ltz lg lug li lim ln lin lo lao lt lit lu lub lv lvs mg mlg mh mah
mi mri mk mkd ml mal mn mon mr mar ms zsm mt mlt my mya na nau nb nob nd nde ne nep ng ndo nl nld nn nno no nob nr nbl
nv nav ny nya oc oci oj oji om orm or ory os oss pa pan pi pli pl pol ps pus pt por qu que rm roh rn run ro ron ru rus
rw kin sa san sc srd sd snd se sme sg sag sh hbs si sin sk slk sl slv sm smo sn sna so som sq sqi sr srp ss ssw st sot
su sun sv swe sw swh ta tam te tel tg tgk th tha ti tir tk tuk tl tgl tn tsn to ton tr tur ts tso tt tat tw twi ty tah
ug uig uk ukr ur urd uz uzb ve ven vi vie vo vol wa wln wo wol xh xho yi yid yo yor za zha zh cmn zu zul
iw heb in ind ji yid mo ron
zho cmn fas pes lav lvs msa zsm swa swh nor nob ori ory
kmr kur ckb ckb prs prs
"""
_CODES = dict(zip(_PAIRS.split()[::2], _PAIRS.split()[1::2], strict=True))
_PARTS = re.compile(r"[-_.@]")


def iso639_3(name: str, *, variants: bool = False) -> str:
    """Return the ISO 639-3 code of a language as gettext or OPUS names it; a name that is not known stays.

    Args:
        name: Such as "fr", "pt_BR", "zh-cn", "sr@latin" or "cak".
        variants: Whether the rest of the name is kept, lower case behind an underscore: por_br, srp_latin. Otherwise
            all variants of a language have one code.
    """
    language, *rest = _PARTS.split(name.strip())
    code = _CODES.get(language.lower(), language.lower())
    return "_".join([code, *(part.lower() for part in rest)]) if variants else code
