from kdopt.campaign.settings import DataSettings
from kdopt.report.class_names import class_names


def test_published_files_have_published_names():
    assert class_names(DataSettings("fashion_mnist"), 10)[:2] == ["t-shirt", "trouser"]
    assert len(class_names(DataSettings("cifar10"), 10)) == 10
    assert class_names(DataSettings("digits"), 10)[3] == "digit 3"


def test_a_users_own_files_have_numbers():
    own = DataSettings("fashion_mnist", checksum="none")
    assert class_names(own, 10)[0] == "class 0"
    assert class_names(DataSettings("folder"), 2) == ["class 0", "class 1"]
    assert class_names(DataSettings("fashion_mnist"), 3)[0] == "class 0"
