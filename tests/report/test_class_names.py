from kdopt.campaign.settings import DataSettings
from kdopt.report.format import name_classes


def test_published_files_have_published_names():
    assert name_classes(DataSettings("fashion_mnist"), 10)[:2] == ["t-shirt", "trouser"]
    assert len(name_classes(DataSettings("cifar10"), 10)) == 10
    assert name_classes(DataSettings("digits"), 10)[3] == "digit 3"


def test_a_users_own_files_have_numbers():
    own = DataSettings("fashion_mnist", checksum="none")
    assert name_classes(own, 10)[0] == "class 0"
    assert name_classes(DataSettings("folder"), 2) == ["class 0", "class 1"]
    assert name_classes(DataSettings("fashion_mnist"), 3)[0] == "class 0"
